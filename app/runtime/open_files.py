"""How many files and connections this process may hold open: the soft limit is raised, connections stay below it."""

from __future__ import annotations

import errno
import os
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


class OpenFilesWatch:
    """Says in the log when this process can open no further file: clients that connect then wait unanswered, and the
    event loop says nothing of it.
    """

    def __init__(self) -> None:
        self._is_full = False

    def look(self) -> None:
        """Try, and say what has changed since the last time."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            error = None
        except OSError as failed:
            error = failed if failed.errno in (errno.EMFILE, errno.ENFILE) else None
        if error is not None and not self._is_full:
            log.warning(
                "no further file can be opened: clients that connect now are not answered until one is closed; "
                "raise the limit of open files (ulimit -n)",
                reason=os.strerror(error.errno or 0),
            )
        elif error is None and self._is_full:
            log.info("files can be opened again")
        self._is_full = error is not None


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
