"""Folders on their way to the service: packed as tar while they are sent, with a bar for the bytes.

Knows files and pipes; knows nothing of what the service makes of them.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.cli import output
from app.cli.folders import read_folder, say_left_out

_CHUNK = 1 << 18
_BLOCK = 512


def files_of(folder: Path) -> list[Path]:
    """Every file below the folder that is not hidden, sorted; links are followed inside it. Says what is left out."""
    contents = read_folder(folder)
    say_left_out(folder, contents.left_out, contents.reasons())
    return contents.files


def packed(folder: Path, files: list[Path]) -> Iterator[bytes]:
    """The files as one tar, in pieces; a bar on standard error follows them.

    Packed on a thread into a pipe, so that neither the disk nor memory holds a second copy. Raises OSError
    where a file cannot be read.
    """
    total = sum(_BLOCK * (2 + (path.stat().st_size + _BLOCK - 1) // _BLOCK) for path in files)
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
