"""The last stages of `lite` as what is trained, and what comes before them computed once an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import nn

from app.families.lite import encoder as lite
from app.families.lite import networks
from app.families.lite.efficientnet_lite import EfficientNetLite
from app.families.lite.efficientnet_onnx import trunk_to_onnx
from app.families.lite.features import RootedLite, expected_features, join
from app.families.lite.variants import DIMS, SIDE, Variant, fingerprint
from app.inference.family import CutTower
from app.inference.protocols import Pixels, Vectors

VARIANT: Variant = "roots"
"""Whose last stage is trained, whatever `VISION_LITE_QUALITY` says: Lite0's last block (192 to 320 channels) and final
convolution."""
_BATCH = 8
ACTIVATIONS = (192, 7, 7)


class LiteTail(nn.Module):
    """Activations float[n, 192, 7, 7] to unit features float[n, 1472], as the served encoder ends.

    Batch norms keep the statistics of ImageNet: a few examples would only make them worse.
    """

    centre: torch.Tensor

    def __init__(self, module: RootedLite, centre: torch.Tensor) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({str(i): module.blocks[i] for i in range(module.cut, len(module.blocks))})
        self.conv_head = module.conv_head
        self.bn1 = module.bn1
        self.register_buffer("centre", centre, persistent=False)
        self.requires_grad_(True)
        for child in self.modules():
            if isinstance(child, nn.BatchNorm2d):
                child.requires_grad_(False)

    def train(self, mode: bool = True) -> LiteTail:
        """Batch norms stay as they are."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=(2, 3))
        for block in self.blocks.values():
            x = block(x)
        pooled = nn.functional.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))
        return nn.functional.normalize(join(pooled, level) - self.centre, dim=-1)


class LiteTrunk:
    """Everything before the tail, frozen: on a CPU in ONNX Runtime, which takes a third of torch's time."""

    def __init__(self, module: EfficientNetLite, device: torch.device) -> None:
        """On a CPU it takes one thread, as training by `deterministic` does; elsewhere torch computes in float32."""
        self._module = module.eval().to(device)
        self._device = device
        self._session = _open_trunk(self._module) if device.type == "cpu" else None

    def activations(self, pixels: Sequence[Pixels]) -> Vectors:
        """n images float32[3, 224, 224] to float16[n, 192, 7, 7]: half the memory, and precise enough to train on."""
        parts = [
            self._compute(np.stack(pixels[start : start + _BATCH])) for start in range(0, len(pixels), _BATCH)
        ]
        found: Vectors = np.concatenate(parts)
        return found

    @torch.inference_mode()
    def _compute(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, 224, 224] to float16[n, 192, 7, 7], which a device halves before they cross."""
        if self._session is not None:
            found: Vectors = self._session.run(None, {"pixels": pixels})[0].astype(np.float16)
        else:
            x = torch.from_numpy(pixels).to(self._device)
            found = self._module.before_last_stage(x).half().cpu().numpy()
        return found


def _open_trunk(module: EfficientNetLite) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    graph = trunk_to_onnx(module, SIDE).SerializeToString()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def cut(device: torch.device) -> CutTower:
    return CutTower(
        shape=ACTIVATIONS,
        dim=DIMS[VARIANT],
        temperature=lite.TEMPERATURES[VARIANT],
        fingerprint=fingerprint(VARIANT),
        preprocess=lite.prepare,
        activations=LiteTrunk(networks.build_rooted_lite0()[0], device).activations,
        build_tail=_build_tail,
        write_tail=lambda tail, folder: write(tail.state_dict(), folder),
    )


def _build_tail() -> LiteTail:
    """Of a module of its own: what is trained changes in place."""
    module, _ = networks.build_rooted_lite0()
    return LiteTail(module, torch.from_numpy(expected_features(module)))


def write(state: Mapping[str, torch.Tensor], folder: Path) -> str:
    """Weights by their names in `EfficientNetLite0`, as `AdaptedLite` reads them; the file's name."""
    kept = {name: tensor.detach().cpu().float().contiguous() for name, tensor in state.items()}
    save_file(kept, folder / lite.TAIL)
    return lite.TAIL
