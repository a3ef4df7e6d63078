"""What the processes of one group take right now, as Linux's /proc says; nothing is known elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GROUP_FIELD = 2
"""Of the fields behind the command's name in /proc/PID/stat: state, parent, process group."""


class GroupUsage(NamedTuple):
    """Sums over a process group."""

    memory_bytes: int
    """Resident memory without the pages that files share."""
    processes: int


def group_usage(group: int) -> GroupUsage | None:
    """The usage of the processes of a group; None where the system does not tell."""
    if not (_PROC / "self/statm").exists():
        return None
    memory = processes = 0
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            stat = (_PROC / entry.name / "stat").read_bytes()
            if int(stat.rpartition(b")")[2].split()[_GROUP_FIELD]) != group:
                continue
            _, resident, shared, *_ = (_PROC / entry.name / "statm").read_bytes().split()
        except (OSError, ValueError, IndexError):
            continue  # it ended meanwhile
        memory += (int(resident) - int(shared)) * page
        processes += 1
    return GroupUsage(memory, processes)
