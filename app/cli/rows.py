"""One request a file, several in flight: a row each, with a progress bar, and one exit code for all.

Knows files and failures; knows nothing of what is asked.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli import output
from app.cli.client import RefusedError
from app.cli.session import Session
from app.cli.wording import in_flags

_AT_ONCE = 8
"""Requests one command keeps in flight: enough to fill the service's batches from two cores on."""


def each(title: str, files: list[tuple[Any, Path]], call: Any) -> list[dict[str, Any]]:
    """One row a file, in order; one refused by the service or unreadable is a row with its error."""

    def row(item: tuple[Any, Path]) -> dict[str, Any]:
        label, file = item
        try:
            return {"file": str(file), **call(label, file)}
        except RefusedError as error:
            if error.status in (401, 403):
                raise  # no other file would fare better
            return {"file": str(file), **({"label": label} if label else {}), "error": in_flags(str(error))}
        except OSError as error:
            return {"file": str(file), "error": error.strerror or str(error)}

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ThreadPoolExecutor(_AT_ONCE) as pool,
        Progress(
            *columns,
            console=output.err,
            disable=len(files) == 1 or not output.err.is_terminal,
            transient=True,
        ) as progress,
    ):
        try:
            return list(progress.track(pool.map(row, files), total=len(files), description=title))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def send_one(session: Session, path: str, form: dict[str, str], file: Path) -> dict[str, Any]:
    """The reply about one image; a refusal is also a row with its error where JSON is wanted."""
    try:
        return session.service.send(path, form, image=file)
    except RefusedError as error:
        if session.json and error.status not in (401, 403):
            output.print_json({"file": str(file), "error": in_flags(str(error))})
        raise


def end(rows: list[dict[str, Any]]) -> None:
    """End the command with exit code 1 where a row failed."""
    failed = sum("error" in row for row in rows)
    if failed:
        output.fail(f"{failed} of {len(rows)} images failed", output.REFUSED)
