"""Files of jobs and models as a folder on this machine: all of them or none."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from llamafarm_vision.errors import DamagedFileError
from llamafarm_vision.flows import Progress, check_digest, download
from llamafarm_vision.replies.jobs import Artifact
from llamafarm_vision.steps import Block, Call, Flow


def save_files(
    files: Sequence[Artifact], folder: Path, *, overwrite: bool, progress: Progress | None
) -> Flow[Path]:
    """Download files into `folder`, which appears whole or stays as it was.

    Folders that all of them lie in, such as an export's own among a model's files, are left away.

    Raises FileExistsError for a folder that holds something without `overwrite`, `DamagedFileError` for a file that
    arrives damaged or whose name leads out of the folder, OSError where it cannot be written.
    """
    folder = folder.absolute()
    _check_free(folder, overwrite)
    within = _common_folder(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    total = sum(file.size for file in files)
    saved = 0
    try:
        for file in files:
            target = (draft / PurePosixPath(file.name).relative_to(within)).resolve()
            if not target.is_relative_to(draft.resolve()):
                raise DamagedFileError(f"the service names a file outside its folder: {file.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            report = None if progress is None else partial(_report, progress, saved, total)
            yield from download(Call("GET", file.url, is_repeatable=True), target, report)
            yield from check_digest(target, file.sha256)
            saved += file.size
        _check_free(folder, overwrite)
        yield Block(partial(_swap, draft, folder))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _report(progress: Progress, before: int, total: int, received: int, _: int | None) -> None:
    progress(before + received, total)


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not overwrite)):
        raise FileExistsError(f"{folder} is not an empty folder; overwrite=True replaces what is in it")


def _common_folder(files: Sequence[Artifact]) -> PurePosixPath:
    """The folder that all of them lie in; none where a name leads elsewhere, which is refused later."""
    folders = [PurePosixPath(file.name).parent for file in files]
    if any(folder.is_absolute() or ".." in folder.parts for folder in folders):
        return PurePosixPath()
    shared = itertools.takewhile(
        lambda parts: len(set(parts)) == 1, zip(*(folder.parts for folder in folders), strict=False)
    )
    return PurePosixPath(*(parts[0] for parts in shared))


def _swap(draft: Path, folder: Path) -> None:
    """Put `draft` in the place of `folder`; what was there goes once the new one stands."""
    draft.chmod(0o755)  # a temporary folder is its owner's alone
    if not folder.exists():
        draft.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "was")
    try:
        draft.rename(folder)
    except OSError:
        (old / "was").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
