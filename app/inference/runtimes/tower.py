"""What a runtime is given (a tower) and what it promises (features)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Rgb, Vectors
from app.inference.resizing import as_picture, resize


@dataclass(frozen=True)
class Tower:
    """The image half of an encoder, not yet running anywhere."""

    fingerprint: str
    """Of the encoder; engines and measurements are cached under it."""
    build: Callable[[], torch.nn.Module]
    """Makes the module, float32 on the CPU in eval mode: normalised float[n, 3, h, w] to features float[n, d]."""
    prepare: Callable[[Image.Image], NDArray[np.float32]]
    """One RGB image to normalised float32[3, h, w] by the checkpoint's own processor: what everything is held
    against, and what is served where `steps` is None."""
    finish: Callable[[Vectors], Vectors]
    """Features to unit vectors, always in float32, whatever the runtime computed in."""
    convolutional: bool
    """Convolutions want channels-last in torch and gain nothing from int8 matrix products."""
    steps: Preprocessing | None = None
    """What `prepare` does. Runtimes are then given 8-bit pixels, and normalise them beside the weights."""
    to_onnx: Callable[[torch.nn.Module], onnx.ModelProto] | None = None
    """A quicker way from what `build` makes to an ONNX graph than tracing: input `pixels`, output
    `features`, any batch size."""

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        """One image as a runtime of this tower wants it: uint8[3, h, w], or float32 where `steps` is None."""
        if self.steps is None:
            return self.prepare(as_picture(image))
        return resize(image, self.steps)


class ImageRuntime(Protocol):
    """A tower that runs; used from one thread at a time."""

    label: str
    """For people: e.g. `onnxruntime int8 cpu`."""
    memory_bytes: int
    """Resident size of weights and runtime, estimated from the weights' size."""

    def run(self, pixels: Pixels) -> Vectors:
        """[n, 3, h, w] of what `Tower.preprocess` gives to features float32[n, d]."""


class Normalising(torch.nn.Module):
    """A tower that takes 8-bit pixels: one multiplication and addition in float32 goes before it."""

    multiplier: torch.Tensor
    offset: torch.Tensor

    def __init__(
        self, module: torch.nn.Module, steps: Preprocessing, device: torch.device, dtype: torch.dtype
    ) -> None:
        """`module` is on `device` in `dtype` already."""
        super().__init__()
        self.module, self.dtype = module, dtype
        for name in ("multiplier", "offset"):
            values = torch.tensor(getattr(steps, name), dtype=torch.float32, device=device)
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8[n, 3, h, w] to features."""
        normalised = torch.addcmul(self.offset, pixels.to(torch.float32), self.multiplier)
        features: torch.Tensor = self.module(normalised.to(self.dtype))
        return features
