"""Which files and labels a path on the command line means; sends nothing anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from app.cli.files import image_files, labelled_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """cats/a.jpg, cats/b.PNG, dogs/deep/c.webp, and things that are no images."""
    for name in [
        "cats/a.jpg",
        "cats/b.PNG",
        "dogs/deep/c.webp",
        "cats/notes.txt",
        ".trash/x.jpg",
        "cats/.y.jpg",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_means_every_image_below_it_in_order(photos: Path) -> None:
    names = [str(file.relative_to(photos)) for file in image_files([photos])]
    assert names == ["cats/a.jpg", "cats/b.PNG", "dogs/deep/c.webp"]


def test_a_named_file_is_taken_whatever_its_name(photos: Path) -> None:
    assert image_files([photos / "cats/notes.txt"]) == [photos / "cats/notes.txt"]


def test_a_folder_of_folders_labels_by_folder(photos: Path) -> None:
    labels = [label for label, _ in labelled_files([photos], None)]
    assert labels == ["cats", "cats", "dogs"]


def test_a_label_goes_to_every_image_of_a_folder(photos: Path) -> None:
    assert {label for label, _ in labelled_files([photos], "animal")} == {"animal"}


@pytest.mark.parametrize("path", ["cats", "cats/a.jpg"])
def test_images_without_folders_need_a_label(photos: Path, path: str) -> None:
    with pytest.raises(typer.BadParameter, match="--label is needed"):
        labelled_files([photos / path], None)


def test_a_folder_without_images_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="holds no images"):
        image_files([tmp_path])
