"""Folders on their way to the service, with a bar for the bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.cli import output
from app.cli.client import Service
from app.cli.progress import ProgressLines
from app.folders.walking import Walk


def files_of(folder: Path) -> list[Path]:
    """Every file below the folder that is not hidden, in order; links are followed that stay in the folder."""
    return [folder / name for name in Walk(folder)]


def send_packed(service: Service, path: str, folder: Path, files: list[Path], **query: str) -> dict[str, Any]:
    """POST the files of a folder as one tar; the reply. Raises what `Service.upload` raises.

    Ctrl-C ends the command and says how much had been sent.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=output.err, disable=not output.err.is_terminal, transient=True)
    task = bar.add_task("Sending", total=None)
    sent, total = 0, sum(file.stat().st_size for file in files)

    def report(sent_now: int, all_bytes: int | None) -> None:
        nonlocal sent, total
        sent, total = sent_now, all_bytes or total
        bar.update(task, completed=sent, total=total)

    try:
        with bar, ProgressLines(lambda: f"sending, {_mib(sent)} of {_mib(total)} MiB"):
            return service.upload(path, folder, files, report, **query)
    except KeyboardInterrupt:
        if sent < total:
            output.stop(
                f"{_mib(sent)} of the {_mib(total)} MiB of {folder} were sent, and the service keeps none of it"
            )
        output.stop(f"all of {folder} was sent, and the service had not answered yet")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
