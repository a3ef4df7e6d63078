"""A forward pass over the first rows of one fixed input, replayed from a recorded graph where there is one.

Queuing the kernels of a small batch one by one takes longer than running them: a CUDA graph queues all of them at
once. A graph holds addresses and shapes, so there is one for each of a few batch sizes, over input that never moves;
a batch runs in the next larger one, and what its spare rows compute is not looked at.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch

from app.inference.recording import RECORDING

WARM_UP_RUNS = 2
"""Before recording: at the first run libraries load their kernels, which may not be recorded."""
MAX_WASTE = 2
"""A batch runs eagerly rather than in a graph of more than so many times its rows."""


_END_POOL: Any = getattr(torch._C, "_cuda_endAllocateToPool", None)

Forward = Callable[[torch.Tensor], torch.Tensor]


class Recording(Protocol):
    """Work that was recorded."""

    output: torch.Tensor
    """What it writes to, each time anew."""

    def replay(self) -> None:
        """Queue the recorded work again."""


class Recorder(Protocol):
    """Records what is queued on a device."""

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        """What `work` queues; raises what it raises, and RuntimeError where the device cannot record it."""


class _CudaRecording:
    def __init__(self, graph: Any, output: torch.Tensor) -> None:
        self._graph = graph
        self.output = output

    def replay(self) -> None:
        self._graph.replay()


class CudaRecorder:
    """CUDA graphs over one pool of memory: recordings run one after another, never two at once."""

    def __init__(self, device_index: int) -> None:
        self._device_index = device_index
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        """On the current stream, on which nothing else may be queued meanwhile. Other threads may use other streams and
        allocate memory: only what this thread does is checked (`thread_local`).

        Not through `torch.cuda.graph`, which waits for the whole device each time.
        """
        graph = torch.cuda.CUDAGraph()
        with RECORDING, _without_garbage_collection():
            torch.cuda.empty_cache()  # what the warm-up took, which the graph takes again in its own pool
            try:
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    output = work()
                finally:  # a stream that was left recording could not be used any more
                    graph.capture_end()
            except BaseException:
                self._end_pool()
                raise
        return _CudaRecording(graph, output)

    def _end_pool(self) -> None:
        """torch up to 2.13 forgets it where a recording fails, and then refuses to give memory back (pytorch#180395);
        where it did not forget, this is an error.
        """
        with suppress(Exception):
            _END_POOL(self._device_index, self._pool)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Memory of a device or an event that a collection frees in this thread in the middle would spoil the recording."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Call:
    """Work that is done again by calling it."""

    def __init__(self, work: Callable[[], torch.Tensor]) -> None:
        self._work = work
        self.output = work()

    def replay(self) -> None:
        self.output = self._work()


class Repeater:
    """Where a device has no graphs: keeps a compiled model to the batch sizes that it was compiled for."""

    def record(self, work: Callable[[], torch.Tensor]) -> Recording:
        return _Call(work)


class BucketedForward:
    """Runs a model over the first rows of `inputs`; used in one stream, with its lock held."""

    def __init__(
        self,
        forward: Forward,
        inputs: torch.Tensor,
        recorder: Recorder | None,
        *,
        recorded: Forward | None = None,
    ) -> None:
        """`forward` takes the first n rows of `inputs` to float32[n, d]; without a recorder all runs are eager.

        `recorded` is what is recorded in its place, such as the same compiled for fixed shapes.
        """
        self._forward = forward
        self._recorded = recorded or forward
        self._inputs = inputs
        self._recorder = recorder
        self._recordings: dict[int, Recording] = {}

    @property
    def recorded(self) -> tuple[int, ...]:
        """The batch sizes that have a graph, ascending."""
        return tuple(sorted(self._recordings))

    def run(self, count: int) -> torch.Tensor:
        """float32[count, d] of the first `count` rows, valid until the next run."""
        fitting = [size for size in self._recordings if count <= size <= MAX_WASTE * count]
        if not fitting:
            return self._forward(self._inputs[:count])
        recording = self._recordings[min(fitting)]
        recording.replay()
        return recording.output[:count]

    def record(self, size: int) -> None:
        """Record the forward pass for that many rows; raises what it raises, then nothing has changed."""
        if self._recorder is None:
            return
        rows, forward = self._inputs[:size], self._recorded
        for _ in range(WARM_UP_RUNS):
            forward(rows)
        self._recordings[size] = self._recorder.record(lambda: forward(rows))

    def forget(self, size: int) -> None:
        """Give the graph of that size up."""
        self._recordings.pop(size, None)

    def give_up(self) -> None:
        """Give all graphs up and record no more; everything queued must be done."""
        self._recordings.clear()
        self._recorder = None

    def close(self) -> None:
        """Let go of the model and its memory; everything queued must be done."""
        self.give_up()
        self._forward = self._recorded = _raise_closed
        self._inputs = torch.empty(0)


def _raise_closed(rows: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("the model was closed")


def buckets_up_to(largest: int) -> tuple[int, ...]:
    """The batch sizes worth a graph: powers of two, and the largest itself."""
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return tuple(dict.fromkeys([*sizes, largest]))
