"""Features of a job's examples by a frozen encoder, computed once: the slow part of learning on features.

Knows encoders, augmented copies and how to remember what was computed; knows nothing of what learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

from app.collections.texts import prompts
from app.families.encoders import EncoderConfig, load_encoder, resolve
from app.families.lite import encoder as lite
from app.inference import device as devices
from app.inference.protocols import Encoder, Vectors
from app.jobs.errors import NotTrainableError
from app.media.augmentation import AugmentationSettings, augment
from workers.methods.common.lite_tail import LiteTail, LiteTrunk
from workers.methods.common.reproducible import deterministic
from workers.shared.examples import Examples, Item
from workers.shared.method import Run

_FILE = "features.safetensors"
_BATCH = 8
ACTIVATIONS = (192, 7, 7)


class Features:
    """float32[n, copies, d] of n items, the first copy being the image itself."""

    def __init__(self, run: Run, examples: Examples) -> None:
        """Loads the encoder; raises what `load_encoder` raises."""
        self._run, self._examples = run, examples
        self.encoder: Encoder = load_encoder(
            resolve(run.spec.base_model or "lite"), EncoderConfig.from_settings(run.settings)
        )

    def of(self, items: Sequence[Item], copies: int, settings: AugmentationSettings, *, name: str) -> Vectors:
        """The items' features and those of `copies` changed copies each; remembered in checkpoints as `name`."""
        known = self._remembered(name)
        if known is not None and known.shape[:2] == (len(items), copies + 1):
            return known
        rng = np.random.default_rng([self._run.spec.seed, len(items), copies])
        found = []
        for index, item in enumerate(items):
            image = self._examples.image(item)
            views = [image, *(augment(image, rng, settings) for _ in range(copies))]
            found.append(self._encoded(views))
            self._run.step(index + 1, len(items))
            if self._run.checkpoint_due(index + 1, 1 << 62):
                self._run.stop_if_asked()
        return np.stack(found) if found else self._encoded([])[:, None]

    def texts(self, labels: Sequence[str], descriptions: dict[str, str]) -> Vectors:
        """float32[C, d]: for each label the mean of its prompts, of unit norm."""
        rows = []
        for label in labels:
            mean = self.encoder.encode_texts(prompts(label, descriptions.get(label, ""))).mean(axis=0)
            rows.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        return np.stack(rows).astype(np.float32)

    def _encoded(self, views: Sequence[Image.Image]) -> Vectors:
        if not views:
            return np.empty((0, self.encoder.dim), np.float32)
        pixels = np.stack([self.encoder.preprocess(view) for view in views])
        parts = [self.encoder.encode_images(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        return np.concatenate(parts)

    def _remembered(self, name: str) -> Vectors | None:
        restored = self._run.restored
        if restored is None or not (restored / _FILE).is_file():
            return None
        return load_file(restored / _FILE).get(name)


class Activations(Features):
    """float16[n, copies, 192, 7, 7]: what the last stages of `lite` are given, where these learn along."""

    def __init__(self, run: Run, examples: Examples) -> None:
        """Raises NotTrainableError for encoders without a cheap cut, whose own weights LoRA trains."""
        super().__init__(run, examples)
        if self.encoder.family != "lite":
            raise NotTrainableError(
                f"Only 'lite' is trained end to end by this method; use the method 'lora' for "
                f"'{run.spec.base_model}'."
            )
        self._module, _ = lite.read_weights(lite.weights_path())
        device = torch.device(devices.parse(run.settings.device).torch_name)
        self._centre = torch.from_numpy(lite.expected_features(self._module))
        self._trunk = LiteTrunk(self._module, device)

    def tail(self) -> LiteTail:
        """The last stages, pretrained, to be learned on."""
        return LiteTail(self._module, self._centre)

    def _encoded(self, views: Sequence[Image.Image]) -> Vectors:
        if not views:
            return np.empty((0, *ACTIVATIONS), np.float16)
        pixels = [lite.prepare(view) for view in views]
        with deterministic():
            return self._trunk.activations(pixels)


def remember(folder: Path, arrays: dict[str, NDArray[np.float32]]) -> None:
    """Put features into a checkpoint, so that the next attempt need not compute them."""
    save_file({name: np.ascontiguousarray(one) for name, one in arrays.items()}, folder / _FILE)
