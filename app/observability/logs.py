"""Log lines, one a thing that happened: JSON for machines, text on a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog

from app.settings import Settings

_HANDLER = "vision"


class _Stderr(logging.Handler):
    """Writes to whatever standard error is at that moment; a terminal that went away is no failure."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (
            Exception
        ) as error:  # such as a library's arguments that do not fit its message: no caller's failure
            line = f"a line of {record.name} cannot be written ({type(error).__name__}): {record.msg!r}"
        with suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")


# Neither format tells where in the code a line was logged, and finding out takes longer than the line itself
# (https://docs.python.org/3/howto/logging.html#optimization).
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def current_request_id() -> str:
    """The id of the request that is being answered; empty outside of one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def configure(settings: Settings) -> None:
    """Send our own lines and those of libraries through one formatter to stderr; safe to call again."""
    as_json = settings.logs.log_format == "json" or (
        settings.logs.log_format == "auto" and not sys.stderr.isatty()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # libraries speak up only when something is wrong
    level = settings.logs.log_level.upper()
    for name in ("app", "workers"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn").setLevel(level)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # our own access line says more
