"""Steps captured as CUDA graphs: one launch a token instead of a thousand, for shapes that come again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch

from app.inference.memory import is_out_of_memory

log = logging.getLogger(__name__)

MAX_GRAPHS = 64
"""Shapes that are kept captured for one model; beyond that the oldest is dropped."""
_capturing = threading.Lock()
"""One capture at a time in this process: the allocator is told apart by streams, but nothing is gained by two."""

Shape = tuple[int, int, int]
Step = Callable[[int, int, int], torch.Tensor]


class CapturedSteps:
    """Runs `step(count, used, extra) -> logits`, which reads all else from tensors that stay where they are.

    A shape's first step runs as it is, which warms it up; its second is captured, and all later ones are replayed.
    Where capturing fails, every step runs as it is from then on, and the log says so.
    """

    def __init__(self, name: str, *, is_able: bool) -> None:
        """Where it `is_able` to: on CUDA."""
        self._name = name
        self._graphs: dict[Shape, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self._seen: set[Shape] = set()
        self._pool: Any = None
        self._aside: Any = None
        self._tensors = 0
        self.is_able = is_able

    @property
    def shapes(self) -> list[Shape]:
        """What is captured."""
        return list(self._graphs)

    def over(self, tensors: int) -> None:
        """Forget what was captured over other tensors than those of this number (`Slots.number`)."""
        if tensors != self._tensors:
            self.forget()
            self._tensors = tensors

    def forget(self) -> None:
        """Drop every graph and its memory."""
        self._graphs.clear()
        self._seen.clear()
        self._pool = None

    def run(self, shape: Shape, step: Step) -> torch.Tensor:
        """float[count, words]; overwritten by the next step of the same shape."""
        if shape in self._graphs:
            graph, logits = self._graphs[shape]
            graph.replay()
            return logits
        if not self.is_able or shape not in self._seen:
            self._seen.add(shape)
            return step(*shape)
        try:
            graph, logits = self._capture(shape, step)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.is_able = False
            self.forget()
            log.warning("%s answers without CUDA graphs: %s", self._name, error)
            return step(*shape)
        while len(self._graphs) >= MAX_GRAPHS:
            self._graphs.pop(next(iter(self._graphs)))
        self._graphs[shape] = (graph, logits)
        graph.replay()
        return logits

    def _capture(self, shape: Shape, step: Step) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """As torch's notes on CUDA graphs have it: once more on a stream of its own, then captured.

        What a step writes, it writes again to the same place when it is repeated. Other threads go on using the device
        meanwhile, hence `thread_local`.
        """
        with _capturing:
            if self._aside is None:  # one for all, since the allocator keeps what was freed by stream
                self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._aside):
                step(*shape)
            torch.cuda.current_stream().wait_stream(self._aside)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                logits = step(*shape)
        return graph, logits
