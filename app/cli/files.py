"""Which files a path on the command line means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import typer

from app.cli import output
from app.folders import walking
from app.folders.suffixes import IMAGE_SUFFIXES
from app.folders.words import name_some

SUFFIXES = IMAGE_SUFFIXES


def image_files(paths: list[Path]) -> list[Path]:
    """The named files as they are, and every image below the named folders; says what of these is left out."""
    files: list[Path] = []
    for path in paths:
        files += _below(path) if path.is_dir() else [check_regular(path)]
    return files


def means_folder(given: str) -> bool:
    """Whether a word was meant for a folder: ids are plain words, and names of a model hub have one slash."""
    return given.startswith((".", "/", "~")) or given.endswith("/")


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


def is_image(name: str) -> bool:
    """Whether a path is an image, by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def check_any(folder: Path, images: Sequence[object]) -> None:
    """End the command where a folder holds no image."""
    if not images:
        raise typer.BadParameter(
            f"{folder} holds no images ({' '.join(sorted(SUFFIXES))})", param_hint="--image"
        )


def say_left_out(folder: Path, others: list[str]) -> None:
    """Say which files of a folder are not sent: those that are no images, and those that were not looked at."""
    if others:
        output.say(f"{folder}: {name_some(others)} left out: not an image by its name")
    for sentence in walking.say_left_out(folder):
        output.say(f"{folder}: {sentence}")


def _below(folder: Path) -> list[Path]:
    files = list(walking.Walk(folder))
    found = [folder / name for name in files if is_image(name)]
    check_any(folder, found)
    say_left_out(folder, [name for name in files if not is_image(name)])
    return found
