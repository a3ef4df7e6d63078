"""How many files and connections this process may hold open: the soft limit is raised, connections stay below it."""

from __future__ import annotations

import resource
from contextlib import suppress

import structlog

from app.settings import Settings

log = structlog.get_logger("app.runtime")


def raise_open_files(settings: Settings) -> int:
    """Raise the soft limit of open files to `max_open_files`, or to the hard limit where that is lower; the limit.

    Processes that are started afterwards have it too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.server.max_open_files
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    with suppress(OSError, ValueError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def max_connections(settings: Settings, open_files: int) -> int:
    """How many connections are served at the same time: `max_concurrency`, or fewer where the open files would not
    leave `reserved_open_files` for everything else.
    """
    wanted = settings.limits.max_concurrency
    room = max(open_files - settings.server.reserved_open_files, open_files // 2)
    if room >= wanted:
        return wanted
    log.warning(
        "fewer connections are served than max_concurrency says: raise the limit of open files (ulimit -n)",
        open_files=open_files,
        connections=room,
        max_concurrency=wanted,
    )
    return room
