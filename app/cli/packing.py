"""Folders on their way to the service: packed as tar while they are sent, with a bar for the bytes."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

_CHUNK = 1 << 18
_BLOCK = 512


def files_of(folder: Path) -> list[Path]:
    """Every file below the folder that is not hidden, in order; links are followed that stay in the folder."""
    return [folder / name for name in Walk(folder)]


def send_packed(service: Service, path: str, folder: Path, files: list[Path], **query: str) -> dict[str, Any]:
    """POST the files of a folder as one tar; the reply. Raises what `Service.call` raises, and OSError.

    Ctrl-C ends the command and says how much had been sent.
    """
    total = sum(_BLOCK * (2 + (path.stat().st_size + _BLOCK - 1) // _BLOCK) for path in files)
    sent = _Sent()
    pieces = _packed(folder, files, total, sent)
    headers = {"Content-Type": "application/x-tar"}
    try:
        with ProgressLines(lambda: f"sending, {_mib(sent.bytes)} of {_mib(total)} MiB"):
            reply: dict[str, Any] = service.call(
                "POST", path, params=query, content=pieces, headers=headers, timeout=None
            )
    except KeyboardInterrupt:
        if sent.bytes < total:
            output.stop(
                f"{_mib(sent.bytes)} of the {_mib(total)} MiB of {folder} were sent, and the service keeps none of it"
            )
        output.stop(f"all of {folder} was sent, and the service had not answered yet")
    return reply


@dataclass
class _Sent:
    bytes: int = 0


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


def _packed(folder: Path, files: list[Path], total: int, sent: _Sent) -> Iterator[bytes]:
    """The files as one tar, in pieces; a bar on standard error follows them.

    Packed on a thread into a pipe, so that neither the disk nor memory holds a second copy. Raises OSError
    where a file cannot be read.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    reader, writer = os.pipe()
    failure: list[OSError] = []
    thread = threading.Thread(
        target=_pack, args=(folder, files, os.fdopen(writer, "wb"), failure), daemon=True
    )
    with (
        Progress(
            *columns, console=output.err, disable=not output.err.is_terminal, transient=True
        ) as progress,
        os.fdopen(reader, "rb") as pipe,
    ):
        task = progress.add_task("Sending", total=total)
        thread.start()
        while piece := pipe.read(_CHUNK):
            progress.advance(task, len(piece))
            sent.bytes += len(piece)
            yield piece
    thread.join()
    if failure:
        raise failure[0]


def _pack(folder: Path, files: list[Path], pipe: IO[bytes], failure: list[OSError]) -> None:
    try:
        with pipe, tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path in files:
                about = tarfile.TarInfo(path.relative_to(folder).as_posix())
                about.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(about, file)
    except BrokenPipeError:
        pass  # the service refused; its answer says why
    except OSError as error:
        failure.append(error)
