"""Training that gives the same weights for the same seed on the same machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(*, one_thread: bool = True) -> Iterator[None]:
    """Deterministic kernels where there are any (the others run with a warning), and one thread on the CPU unless a
    network is large enough to gain by more.

    Sums do not depend on the number of cores then; and networks this small lose more by threads that wait for one
    another than they gain: beside other work, `lite` took sixty times as long with two. As before afterwards.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned, had = torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_num_threads()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    if one_thread:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(had)
        torch.use_deterministic_algorithms(before, warn_only=warned)
