"""What a runtime is given (a tower) and what it promises (features)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import onnx
import torch
from PIL import Image

from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Vectors


@dataclass(frozen=True)
class Tower:
    """The image half of an encoder, not yet running anywhere."""

    fingerprint: str
    """Of the encoder; engines and measurements are cached under it."""
    build: Callable[[], torch.nn.Module]
    """Makes the module, float32 on the CPU in eval mode: float[n, 3, h, w] to features float[n, d]."""
    preprocess: Callable[[Image.Image], Pixels]
    """One image to float32[3, h, w]."""
    finish: Callable[[Vectors], Vectors]
    """Features to unit vectors, always in float32, whatever the runtime computed in."""
    convolutional: bool
    """Convolutions want channels-last in torch and gain nothing from int8 matrix products."""
    steps: Preprocessing | None = None
    """What `preprocess` does, where it can be stated; a GPU then does it itself."""
    to_onnx: Callable[[torch.nn.Module], onnx.ModelProto] | None = None
    """A quicker way from what `build` makes to an ONNX graph than tracing: input `pixels`, output
    `features`, any batch size."""


class ImageRuntime(Protocol):
    """A tower that runs; used from one thread at a time."""

    label: str
    """For people: e.g. `onnxruntime int8 cpu`."""
    memory_bytes: int
    """Resident size of weights and runtime, estimated from the weights' size."""

    def run(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, h, w] to features float32[n, d]."""
