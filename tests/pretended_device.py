"""What stands in for a GPU where there is none: streams whose copies happen as late as the marks allow, so that a
missing wait shows, graphs that replay what they recorded, a decoder of JPEGs, and a small tower.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Vectors
from app.inference.resizing import normalise, resize
from app.inference.runtimes.gpu.buckets import Recording
from app.inference.runtimes.gpu.streams import Mark
from app.inference.runtimes.tower import Tower

STEPS = Preprocessing((16, 16), shortest_edge=18, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class LateMark:
    """Done when it is waited for, and what it stands for happens only then."""

    def __init__(self, happen: Callable[[], None] = lambda: None) -> None:
        self._happen: Callable[[], None] | None = happen
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            happen, self._happen = self._happen, None
        if happen is not None:
            with torch.inference_mode():  # a copy that a device makes asks no such question
                happen()


class LateStreams:
    """See `app.inference.runtimes.gpu.streams.Streams`: computing is at once, both ways of copying are late."""

    is_pinned = True

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.uploads: list[tuple[int, Mark | None]] = []
        """Where each upload went, and what it waited for."""
        self.decoded = 0

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.full(shape, 77, dtype=dtype)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.full(shape, 99, dtype=dtype)

    def settle(self) -> None:
        pass

    def upload(self, target: torch.Tensor, source: torch.Tensor, after: Mark | None) -> Mark:
        self.uploads.append((target.data_ptr(), after))

        def happen() -> None:
            target.copy_(source)

        return LateMark(happen)

    def download(self, target: torch.Tensor, source: torch.Tensor) -> Mark:
        computed = source.clone()  # in order with what is computed; only its arrival is late

        def happen() -> None:
            target.copy_(computed)

        return LateMark(happen)

    @contextmanager
    def computing(self, after: Mark | None = None) -> Iterator[None]:
        if after is not None:
            after.wait()
        yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        self.decoded += 1
        yield

    def mark(self) -> Mark:
        return LateMark()

    def time(self, work: Callable[[], object], repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - began) / repeats


class Graph:
    """A pretended graph: replaying computes what was recorded, over the same memory, into the same memory."""

    def __init__(self, work: Callable[[], torch.Tensor]) -> None:
        self._work = work
        self.output = work()
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        self.output.copy_(self._work())


class Graphs:
    """Records pretended graphs, as far as memory goes."""

    def __init__(self, fits: int = 10**9, error: Exception | None = None) -> None:
        self.fits, self.error = fits, error
        self.recorded: list[Graph] = []

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        if self.error is not None:
            raise self.error
        graph = Graph(work)
        if len(graph.output) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.recorded.append(graph)
        return graph


class Decoder:
    """Decodes as a device would; refuses what is in `refused`, all of a batch at once."""

    name = "stand-in"
    turns_upright = False

    def __init__(self) -> None:
        self.refused: set[bytes] = set()
        self.calls: list[int] = []
        self.error: Exception | None = None

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        self.calls.append(len(files))
        if self.error is not None:
            raise self.error
        if self.refused.intersection(files):
            raise RuntimeError("nvjpegDecodeBatched failed: 5")
        return [
            torch.from_numpy(simplejpeg.decode_jpeg(file, "RGB")).permute(2, 0, 1).contiguous()
            for file in files
        ]


class SmallModule(torch.nn.Module):
    """float[n, 3, 16, 16] to float[n, 54]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 6, 5, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(pixels).flatten(1)
        return features


def small_tower(prepare: Callable[[Image.Image], NDArray[np.float32]] | None = None) -> Tower:
    """A tower with the preprocessing `STEPS`, or one that says so and does another."""

    def own(image: Image.Image) -> NDArray[np.float32]:
        return normalise(resize(image, STEPS)[None], STEPS)[0]

    return Tower(
        fingerprint="small",
        build=lambda: SmallModule().eval().requires_grad_(False),
        preprocess=prepare or own,
        finish=unit,
        convolutional=True,
        steps=STEPS,
    )


def unit(vectors: Vectors) -> Vectors:
    """The rows, each of length 1."""
    found: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found
