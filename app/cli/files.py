"""Which files a path on the command line means, and which label each gets.

Knows file names only; whether a file is a readable image is for the service to say. What a folder holds besides is
counted and said.
"""

from __future__ import annotations

from pathlib import Path

import typer

from app.cli.folders import FolderContents, count_suffixes, read_folder, say_left_out
from app.media.suffixes import IMAGE_SUFFIXES

SUFFIXES = IMAGE_SUFFIXES


def image_files(paths: list[Path]) -> list[Path]:
    """The named files as they are, and every image below the named folders; says what is left out."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            contents = read_folder(path)
            images = _images(contents)
            _say_left_out(contents, images)
            files += images
        else:
            files.append(check_regular(path))
    return files


def check_regular(path: Path) -> Path:
    """The path of a file; a pipe or a device, which may never end, is wrong usage."""
    if not path.is_file():
        raise typer.BadParameter(f"{path} is no regular file", param_hint="--image")
    return path


def labelled_files(paths: list[Path], label: str | None) -> list[tuple[str, Path]]:
    """(label, file) pairs: all of `label`, or without one each inner folder's name for what lies in it."""
    if label is not None:
        if not label.strip():
            raise typer.BadParameter("it is empty: say what the images show", param_hint="--label")
        return [(label, file) for file in image_files(paths)]
    pairs: list[tuple[str, Path]] = []
    for path in paths:
        if not path.is_dir():
            check_regular(path)
            raise _label_needed(path)
        contents = read_folder(path)
        images = _images(contents)
        in_folders = [image for image in images if image.parent != path]
        if not in_folders:
            raise _label_needed(path)
        for folder in sorted({path / image.relative_to(path).parts[0] for image in in_folders}):
            pairs += [(folder.name, image) for image in in_folders if image.is_relative_to(folder)]
        _say_left_out(contents, images, unlabelled=len(images) - len(in_folders))
    return pairs


def _label_needed(path: Path) -> typer.BadParameter:
    return typer.BadParameter(f"{path} is no folder of folders, so a --label is needed", param_hint="--label")


def _images(contents: FolderContents) -> list[Path]:
    images = [file for file in contents.files if file.suffix.lower() in SUFFIXES]
    if not images:
        others = f"; it holds {count_suffixes(contents.files)}" if contents.files else ""
        raise typer.BadParameter(
            f"{contents.folder} holds no images ({' '.join(sorted(SUFFIXES))}){others}", param_hint="--image"
        )
    return images


def _say_left_out(contents: FolderContents, images: list[Path], *, unlabelled: int = 0) -> None:
    taken = set(images)
    others = [file for file in contents.files if file not in taken]
    reasons = [
        *([f"{len(others)} no images by name: {count_suffixes(others)}"] if others else []),
        *([f"{unlabelled} images beside the folders, without a label"] if unlabelled else []),
        *contents.reasons(),
    ]
    say_left_out(contents.folder, len(others) + unlabelled + contents.left_out, reasons)
