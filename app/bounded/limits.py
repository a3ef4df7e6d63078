"""Limits of a bounded child process, and the protocol between it and its parent."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
DEFAULT_REPLY_BYTES = 32 * MIB
DEFAULT_PROCESSES = 8


@dataclass(frozen=True)
class ChildLimits:
    """Limits of one child, its own children included."""

    memory_bytes: int
    """Memory that is its own: files it maps do not count."""
    cpu_seconds: int
    """Of all of its threads together."""
    wall_seconds: float
    open_files: int
    file_bytes: int
    """Largest single file it may write."""
    processes: int = DEFAULT_PROCESSES
    """Most processes in its group, itself included."""
    reply_bytes: int = DEFAULT_REPLY_BYTES
