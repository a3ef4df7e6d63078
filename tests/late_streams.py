"""Streams of a pretended device whose copies happen as late as the marks allow, so that a missing wait shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from app.inference.runtimes.gpu.streams import Mark


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
