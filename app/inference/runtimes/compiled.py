"""Image towers through torch.compile, which wants few shapes: batches are filled up to one of a few sizes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes.torch_runtime import TorchRuntime
from app.inference.runtimes.tower import Tower

BUCKETS = (1, 4, 8, 16, 32)
"""Each is compiled once; a batch waits for the next larger one, a larger batch runs in parts."""


class CompiledRuntime(TorchRuntime):
    """See `app.inference.runtimes.tower.ImageRuntime`."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: Device,
        dtype: torch.dtype,
        *,
        channels_last: bool = False,
        backend: str = "inductor",
        int8: bool = False,
        steps: Preprocessing | None = None,
    ) -> None:
        """Takes the module over. `int8` needs torchao: weights and activations of its matrix products.

        Raises ImportError without that package; compiling happens with the first batch of each size.
        """
        super().__init__(module, device, dtype, channels_last=channels_last, steps=steps)
        if int8:
            quantisation: Any = importlib.import_module("torchao.quantization")
            quantisation.quantize_(
                self._module, quantisation.Int8DynamicActivationInt8WeightConfig(), device=self._device
            )
        self._module: Any = torch.compile(self._module, backend=backend, dynamic=False)
        precision = "int8" if int8 else str(dtype).removeprefix("torch.")
        self.label = f"torch {precision} {device.torch_name}, compiled by {backend}"

    def run(self, pixels: Pixels) -> Vectors:
        """See `TorchRuntime.run`."""
        parts = [
            self._part(pixels[start : start + BUCKETS[-1]]) for start in range(0, len(pixels), BUCKETS[-1])
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def warm_up(self, tower: Tower) -> None:
        """Compile for every size now, so that no request waits for it."""
        from app.inference.runtimes.engines import pixels_of

        one = pixels_of(tower, 1)
        for size in BUCKETS:
            self.run(np.repeat(one, size, axis=0))

    def _part(self, pixels: Pixels) -> Vectors:
        size = next(bucket for bucket in BUCKETS if bucket >= len(pixels))
        if size == len(pixels):
            return super().run(pixels)
        filled = np.concatenate([pixels, np.zeros((size - len(pixels), *pixels.shape[1:]), pixels.dtype)])
        return super().run(filled)[: len(pixels)]
