"""Image towers in torch, on a CPU or a GPU, in float32 or a 16-bit float."""

from __future__ import annotations

from pathlib import Path

import torch

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes.tower import Normalising

_WORKSPACE = 64 * 2**20


class TorchRuntime:
    """See `app.inference.runtimes.tower.ImageRuntime`."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: Device,
        dtype: torch.dtype,
        *,
        channels_last: bool = False,
        steps: Preprocessing | None = None,
    ) -> None:
        """Takes the module over: it is moved and converted in place. With `steps`, 8-bit pixels are normalised."""
        self._device = torch.device(device.torch_name)
        self._dtype = dtype
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._module = module.to(self._device, dtype)
        if channels_last:
            self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if steps is not None:
            self._module = Normalising(self._module, steps, self._device, dtype)
        self.label = f"torch {str(dtype).removeprefix('torch.')} {device.torch_name}"
        weights = sum(p.numel() * p.element_size() for p in self._module.parameters())
        self.memory_bytes = weights + _WORKSPACE

    def run(self, pixels: Pixels) -> Vectors:
        """uint8[n, 3, h, w] with `steps`, else float32, to features float32[n, d]; a full GPU raises
        `torch.OutOfMemoryError`.
        """
        with torch.inference_mode():
            batch = torch.from_numpy(pixels)
            if self._device.type == "cuda":
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            if batch.dtype != torch.uint8:
                batch = batch.to(self._dtype)
            batch = batch.contiguous(memory_format=self._layout)
            features: Vectors = self._module(batch).float().cpu().numpy()
        return features


def cpu_computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; without that it is slower than float32."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    return bool({"amx_bf16", "avx512_bf16", "bf16"} & set(flags))
