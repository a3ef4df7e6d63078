"""Functions over untrusted data, run in a process of their own with limits on memory, time, files and disk."""

from __future__ import annotations

from app.bounded.limits import ChildLimits
from app.bounded.runner import run_bounded, run_bounded_async

__all__ = ["ChildLimits", "run_bounded", "run_bounded_async"]
