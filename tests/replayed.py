"""Stands in for CUDA graphs where there is no GPU: records the operations of a pass and runs them again as they were.

Like a graph it knows tensors by their place alone, so whatever a captured pass takes from Python stays what it was.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app.inference.recording import RECORDING


class _Recorder(TorchDispatchMode):
    def __init__(self, calls: list[tuple[Any, Any, Any, Any]]) -> None:
        super().__init__()
        self._calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, out))
        return out


class ReplayedGraph:
    """`torch.cuda.CUDAGraph` as far as it is used here."""

    made: list[ReplayedGraph]

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self._recorder = _Recorder(self.calls)
        self.made.append(self)

    def capture_begin(self, *, pool: object, capture_error_mode: str) -> None:
        """Other threads use the device meanwhile, and only one graph is captured at a time."""
        assert capture_error_mode == "thread_local"
        assert RECORDING.locked()
        self._recorder.__enter__()

    def capture_end(self) -> None:
        self._recorder.__exit__(None, None, None)

    def replay(self) -> None:
        """Every operation once more, its results where they were."""
        self.replays += 1
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Stream:
    def wait_stream(self, other: object) -> None:
        """Everything here happens in order."""

    def synchronize(self) -> None:
        """Everything here is done at once."""


@pytest.fixture
def replayed_graphs(monkeypatch: pytest.MonkeyPatch) -> list[ReplayedGraph]:
    """Graphs on the CPU; the list has all that are made."""
    ReplayedGraph.made = []
    stream = _Stream()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", ReplayedGraph)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _=None: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    return ReplayedGraph.made
