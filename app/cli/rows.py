"""One request a file, several in flight: a row each, with progress, and one exit code for all."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli import output
from app.cli.client import RefusedError
from app.cli.progress import ProgressLines
from app.cli.session import Session
from app.cli.wording import in_flags
from app.cli.words import printable

_AT_ONCE = 8
"""Requests one command keeps in flight: enough to fill the service's batches from two cores on."""


class Rows(list[dict[str, Any]]):
    """A row for each of `total` files, or after Ctrl-C for those that were answered by then."""

    def __init__(self, rows: Iterable[dict[str, Any]], total: int) -> None:
        super().__init__(rows)
        self.total = total

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C came before all were answered."""
        return len(self) < self.total


def each(title: str, files: list[tuple[Any, Path]], call: Any) -> Rows:
    """One row a file, in order; one refused by the service or unreadable is a row with its error."""

    def row(item: tuple[Any, Path]) -> dict[str, Any]:
        label, file = item
        name = {"file": printable(file)}
        try:
            return {**name, **call(label, file)}
        except RefusedError as error:
            if error.status in (401, 403):
                raise  # no other file would fare better
            return {**name, **({"label": label} if label else {}), "error": in_flags(str(error))}
        except OSError as error:
            return {**name, "error": error.strerror or str(error)}

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = len(files) == 1 or not output.err.is_terminal
    asked: list[Future[dict[str, Any]]] = []

    def count() -> str:
        return f"{title.lower()}, {sum(future.done() for future in asked)} of {len(files)} images"

    with (
        ThreadPoolExecutor(_AT_ONCE) as pool,
        Progress(*columns, console=output.err, disable=hidden, transient=True) as progress,
        ProgressLines(count),
    ):
        try:
            asked += [pool.submit(row, item) for item in files]
            for future in progress.track(asked, description=title):
                future.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    answered = (future for future in asked if not future.cancelled() and future.exception() is None)
    return Rows((future.result() for future in answered), len(files))


def send_one(session: Session, path: str, form: dict[str, str], file: Path) -> dict[str, Any]:
    """The reply about one image; a refusal is also a row with its error where JSON is wanted."""
    try:
        return session.service.send(path, form, image=file)
    except RefusedError as error:
        if session.json and error.status not in (401, 403):
            output.print_json({"file": printable(file), "error": in_flags(str(error))})
        raise


def end(rows: Rows, done: str) -> None:
    """End the command with exit code 1 where a row failed, and after Ctrl-C with how many images were `done`."""
    failed = sum("error" in row for row in rows)
    if rows.is_interrupted:
        output.stop(f"{len(rows) - failed} of {rows.total} images were {done}")
    if failed:
        output.fail(f"{failed} of {len(rows)} images failed", output.REFUSED)
