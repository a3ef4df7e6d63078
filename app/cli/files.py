"""Which files a path on the command line means, and which label each gets.

Knows file names only; whether a file is a readable image is for the service to say.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import typer

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def image_files(paths: list[Path]) -> list[Path]:
    """The named files as they are, and every image below the named folders; hidden ones are left out."""
    files: list[Path] = []
    for path in paths:
        files += _below(path) if path.is_dir() else [check_regular(path)]
    return files


def suggest_folder(wanted: Path) -> Path | None:
    """A folder beside the one that was named and is not there, of nearly its name."""
    try:
        names = [child.name for child in wanted.parent.iterdir() if child.is_dir()]
    except OSError:
        return None
    near = difflib.get_close_matches(wanted.name, names, 1, 0.7)
    return wanted.with_name(near[0]) if near else None


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
        if path.is_dir():
            _below(path)  # which says where there is no image at all
        else:
            check_regular(path)
        folders = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
        if not folders:
            raise typer.BadParameter(
                f"{path} is no folder of folders, so a --label is needed", param_hint="--label"
            )
        for folder in folders:
            if not folder.name.startswith("."):
                pairs += [(folder.name, file) for file in image_files([folder])]
    return pairs


def _below(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise typer.BadParameter(
            f"{folder} holds no images ({' '.join(sorted(SUFFIXES))})", param_hint="--image"
        )
    return found
