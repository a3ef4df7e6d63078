"""Steps captured as CUDA graphs: one launch a token instead of a thousand, for shapes that come again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import torch

from app.inference.memory import is_out_of_memory
from app.inference.runtimes.gpu.buckets import CudaRecorder, Recording

log = logging.getLogger(__name__)

MAX_GRAPHS = 64
"""Shapes that are kept captured for one model; beyond that the oldest is dropped."""
_aside_lock = threading.Lock()
"""Held by whoever uses the stream aside: what another queued there would end up in the graph. Taken before
`app.inference.recording.RECORDING`.
"""

Shape = tuple[int, int, int]
Step = Callable[[int, int, int], torch.Tensor]


class StepRecorder(Protocol):
    """Captures steps on a device."""

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        """What `work` queues, which may be done more than once; raises what it raises, and RuntimeError where it cannot
        be captured.
        """

    def settle(self) -> None:
        """Block until nothing runs that was captured: it is about to be dropped."""

    def forget(self) -> None:
        """What is captured from now on gets memory of its own, since all before is dropped."""


class CudaSteps:
    """On a stream beside the current one, as torch's notes on CUDA graphs have it: done once, then captured.

    Other threads go on using the device meanwhile; see `CudaRecorder`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorder: CudaRecorder | None = None

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        """See `StepRecorder`. The current stream goes on behind what was done aside, also where that failed."""
        if self._recorder is None:
            self._recorder = CudaRecorder(torch.cuda.current_device())
        current: Any = torch.cuda.current_stream()
        with _aside_lock:
            aside = _aside_of(torch.cuda.current_device())
            aside.wait_stream(current)
            try:
                with torch.cuda.stream(aside):
                    work()
                    return self._recorder.record(work)
            finally:
                current.wait_stream(aside)

    def settle(self) -> None:
        """See `StepRecorder`."""
        torch.cuda.current_stream(self._device).synchronize()

    def forget(self) -> None:
        """See `StepRecorder`: torch takes no pool again that has lost its last graph."""
        self._recorder = None


@lru_cache
def _aside_of(device_index: int) -> Any:
    """One stream for all models of a device: the allocator keeps by stream what was freed, and torch has but 32."""
    make_stream: Any = torch.cuda.Stream
    return make_stream(device_index)


class CapturedSteps:
    """Runs `step(count, used, extra) -> logits`, which reads all else from tensors that stay where they are.

    A shape's first step runs as it is, which warms it up; its second is captured, and all later ones are replayed.
    Where capturing fails, every step runs as it is from then on, and the log says so.
    """

    def __init__(self, name: str, recorder: StepRecorder, *, is_able: bool) -> None:
        """Where it is not `is_able` to, every step runs as it is."""
        self._name = name
        self._recorder = recorder
        self._graphs: dict[Shape, Recording] = {}
        self._seen: set[Shape] = set()
        self._tensors = 0
        self.is_able = is_able
        """Whether steps are captured."""

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the captured steps."""
        return list(self._graphs)

    def over(self, tensors: int) -> None:
        """Forget what was captured over other tensors than those of this number (`Slots.number`)."""
        if tensors != self._tensors:
            self.forget()
            self._tensors = tensors

    def forget(self) -> None:
        """Drop every graph and its memory."""
        if self._graphs:
            self._recorder.settle()
        self._graphs.clear()
        self._seen.clear()
        self._recorder.forget()

    def run(self, shape: Shape, step: Step) -> torch.Tensor:
        """float[count, words]; overwritten by the next step of the same shape."""
        graph = self._graphs.get(shape)
        if graph is None:
            if not self.is_able or shape not in self._seen:
                self._seen.add(shape)
                return step(*shape)
            graph = self._capture(shape, step)
            if graph is None:
                return step(*shape)
        graph.replay()
        return graph.output

    def _capture(self, shape: Shape, step: Step) -> Recording | None:
        """None where the device cannot; then nothing is captured any more."""
        if len(self._graphs) >= MAX_GRAPHS:
            self._recorder.settle()
            self._graphs.pop(next(iter(self._graphs)))
        try:
            graph = self._graphs[shape] = self._recorder.record(lambda: step(*shape))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.is_able = False
            self.forget()
            log.warning("%s answers without CUDA graphs: %s", self._name, error)
            return None
        return graph
