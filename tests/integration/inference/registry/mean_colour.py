"""A small encoder that computes real vectors from pixels and letters in numpy, and its loader, so that loads take no
time and memory can be chosen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.families import Families
from app.inference.engine.interface import Engine
from app.inference.protocols import Encoder, Pixels, Rgb, Vectors
from app.inference.registry import ModelRegistry
from app.inference.resizing import as_picture
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from tests.engines import until

MIB = 1 << 20


class MeanColour:
    """Images by their mean colour, texts by their letters; both as unit rows of length 8."""

    family = "lite"
    dim = 8
    temperature = 10.0
    input_size = 8
    runtime = "numpy float32 cpu"

    def __init__(self, name: str, memory_bytes: int = 10 * MIB) -> None:
        self.name = name
        self.fingerprint = f"{sum(name.encode()):016x}"
        self.memory_bytes = memory_bytes
        self.text_calls: list[list[str]] = []
        self.image_batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        return np.asarray(as_picture(image).resize((8, 8)), np.float32).transpose(2, 0, 1) / 255

    def encode_images(self, pixels: Pixels) -> Vectors:
        self.running.set()
        self.gate.wait(20)
        self.image_batches.append(len(pixels))
        means = np.zeros((len(pixels), 8), np.float32)
        means[:, :3] = pixels.mean((2, 3))
        means[:, 3] = 0.01
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.text_calls.append(list(texts))
        rows = np.array([np.bincount([ord(c) % 8 for c in t] or [0], minlength=8) for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Loader:
    """Loads `MeanColour`, counting, and failing when told to."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.made: dict[str, MeanColour] = {}
        self.failures: list[Exception] = []
        self.memory: dict[str, int] = {}
        self.seconds = 0.02
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        self.loads.append(source.name)
        time.sleep(self.seconds)
        self.gate.wait(20)
        if self.failures:
            raise self.failures.pop()
        self.made[source.name] = MeanColour(source.name, self.memory.get(source.name, 10 * MIB))
        return self.made[source.name]


class Loading(Families):
    """The families of this process, whose encoders a loader makes."""

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Encoder:
        return self._loader(source, config)


def solid(colour: str) -> Image.Image:
    return Image.new("RGB", (40, 30), colour)


def waiting(registry: ModelRegistry) -> int:
    """Items in the queues of the loaded models."""
    return sum(info.batches.queue_depth for info in registry.live() if info.batches is not None)


async def shows(engine: Engine, names: list[str]) -> None:
    """Those and no others are loaded: at once in one process; a front end is told soon."""
    if not isinstance(engine, ModelRegistry):
        await until(lambda: [info.name for info in engine.live()] == names)
    assert [info.name for info in engine.live()] == names
