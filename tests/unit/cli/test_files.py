"""Which files and labels a path on the command line means; sends nothing anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.cli import app, example_folder
from app.cli.files import image_files
from app.cli.labelled_folders import FolderRules, list_labelled_files
from app.cli.packing import files_of
from tests.scripted import Scripted, serving

server = pytest.fixture(serving)


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
    labels = [label for label, _ in list_labelled_files([photos], None)]
    assert labels == ["cats", "cats", "dogs"]


def test_a_label_goes_to_every_image_of_a_folder(photos: Path) -> None:
    assert {label for label, _ in list_labelled_files([photos], "animal")} == {"animal"}


def test_an_own_split_is_kept_from_what_is_taught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("w/train/cat/1.jpg", "w/train/dog/2.jpg", "w/test/cat/3.jpg", "w/README.md", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_labelled_files([tmp_path], None)
    assert [(label, file.name) for label, file in found] == [("cat", "1.jpg"), ("dog", "2.jpg")]
    said = capsys.readouterr().err
    assert "2 classes from folders below w" in said
    assert "1 image left out: of the split for test" in said
    assert "w/README.md left out: not an image by its name" in said
    assert "Thumbs.db left out: added by a system" in said
    everything = list_labelled_files([tmp_path], None, FolderRules(own_split="ignore"))
    assert len(everything) == 3


def test_lines_of_a_split_for_tests_are_not_taught(tmp_path: Path) -> None:
    rows = [{"image": "1.jpg", "label": "a", "split": split} for split in ("train", "test", "val", "")]
    (tmp_path / "1.jpg").touch()
    lines = tmp_path / "examples.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8-sig")
    assert len(example_folder.read(tmp_path)) == 2
    assert len(example_folder.read(tmp_path, FolderRules(own_split="ignore"))) == 4


def test_labels_that_could_be_two_levels_are_chosen_by_flag(tmp_path: Path) -> None:
    for name in ("pets/cat/1.jpg", "pets/dog/2.jpg", "plants/fern/3.jpg", "plants/rose/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(typer.BadParameter, match="--labels-from top takes pets, plants"):
        list_labelled_files([tmp_path], None)
    labels = [label for label, _ in list_labelled_files([tmp_path], None, FolderRules("parent"))]
    assert labels == ["cat", "dog", "fern", "rose"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "id,label\n1,cat\n"),
        ("metadata.jsonl", '{"file_name": "1.jpg", "text": "x"}'),
        ("annotations.json", '{"images": [{"file_name": "1.jpg"}]}'),
    ],
)
def test_folders_beside_annotations_are_no_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").touch()
    (tmp_path / "prices.csv").write_text("month,euro\n1,2\n")
    assert list_labelled_files([tmp_path], None)
    (tmp_path / name).write_text(text)
    with pytest.raises(typer.BadParameter, match="prepare-dataset"):
        list_labelled_files([tmp_path], None)
    assert list_labelled_files([tmp_path], None, FolderRules("top"))


@pytest.mark.parametrize("path", ["cats", "cats/a.jpg"])
def test_images_without_folders_need_a_label(photos: Path, path: str) -> None:
    with pytest.raises(typer.BadParameter, match="--label is needed"):
        list_labelled_files([photos / path], None)


def test_a_folder_without_images_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="holds no images"):
        image_files([tmp_path])
    for label in (None, "mug"):
        with pytest.raises(typer.BadParameter, match="holds no images"):
            list_labelled_files([tmp_path], label)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".avif", ".heic", ".HEIF", ".jp2", ".tif"])
def test_every_image_that_the_service_reads_is_found(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert image_files([tmp_path]) == [tmp_path / f"a{suffix}"]


def test_what_is_left_out_is_said_with_the_reason(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cats/clip.MP4").touch()
    (photos / "loose.jpg").touch()
    assert len(image_files([photos])) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "cats/clip.MP4, cats/notes.txt left out: not an image by its name" in said
    assert ".trash, cats/.y.jpg left out: hidden" in said
    list_labelled_files([photos], None)
    assert "1 image left out: in no label's folder" in capsys.readouterr().err


def test_nothing_is_said_where_nothing_is_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_files([photos / "dogs"])
    assert capsys.readouterr().err == ""


def test_links_are_followed_inside_the_folder_and_named_outside(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.jpg").touch()
    (photos / "pets").symlink_to("cats")
    (photos / "dogs/one.jpg").symlink_to("../cats/a.jpg")
    (photos / "dogs/out.jpg").symlink_to(elsewhere / "secret.jpg")
    (photos / "far").symlink_to(elsewhere)
    (photos / "dogs/gone.jpg").symlink_to("nowhere.jpg")
    (photos / "dogs/around").symlink_to("..")
    names = {str(file.relative_to(photos)) for file in image_files([photos])}
    assert names == {
        "cats/a.jpg",
        "cats/b.PNG",
        "dogs/deep/c.webp",
        "dogs/one.jpg",
        "pets/a.jpg",
        "pets/b.PNG",
    }
    said = " ".join(capsys.readouterr().err.split())
    assert "dogs/out.jpg, far left out: a link out of the folder" in said
    assert "dogs/gone.jpg left out: a link to nothing" in said
    assert "dogs/around left out: a link to a folder around it" in said
    assert set(list_labelled_files([photos], None)) >= {
        ("pets", photos / "pets/a.jpg"),
        ("dogs", photos / "dogs/one.jpg"),
    }


def test_a_folder_on_its_way_to_the_service_is_packed_by_the_same_rules(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (photos / "pets").symlink_to("cats")
    (photos / "out.jpg").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    names = [str(file.relative_to(photos)) for file in files_of(photos)]
    assert "pets/a.jpg" in names
    assert "cats/notes.txt" in names
    assert "out.jpg" not in names


@pytest.mark.parametrize("label", ["", "  "])
def test_an_empty_label_is_wrong_usage(photos: Path, label: str) -> None:
    with pytest.raises(typer.BadParameter, match="empty"):
        list_labelled_files([photos / "cats/a.jpg"], label)


@pytest.mark.parametrize(
    "words",
    [
        ["oneshot", "classify", "--image", "PIPE"],
        ["oneshot", "learn", "--image", "PIPE", "--label", "mug"],
        ["oneshot", "learn", "--image", "PIPE"],
        ["ask", "--image", "PIPE", "what?"],
        ["caption", "--image", "PIPE"],
        ["fewshot", "query", "--image", "PIPE", "--question", "what?"],
        ["fewshot", "add-example", "--image", "PIPE", "--question", "what?", "--answer", "it"],
        ["augment", "preview", "--image", "PIPE", "--output", "sheet.png"],
        ["train", "--strategy", "siamese_oneshot", "--image", "PIPE", "--label", "mug"],
    ],
    ids=" ".join,
)
def test_a_pipe_is_no_image_to_wait_for(tmp_path: Path, words: list[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    nowhere = {"VISION_SERVER": "http://127.0.0.1:1", "COLUMNS": "200"}
    done = CliRunner().invoke(app, [str(pipe) if word == "PIPE" else word for word in words], env=nowhere)
    assert done.exit_code == 2, done.output
    assert "is no regular file" in done.stderr


def test_a_refusal_of_one_image_is_a_row_for_programs(server: Scripted, photos: Path) -> None:
    refusal = b'{"detail": "The picture is damaged."}'
    for words in (["oneshot", "classify", "--image"], ["ask", "what?", "--strict", "--image"]):
        server.answers = [(422, {}, refusal)]
        file = str(photos / "cats/a.jpg")
        done = CliRunner().invoke(app, [*words, file, "--json", "--server", server.url])
        assert done.exit_code == 1
        assert json.loads(done.stdout) == {"file": file, "error": "The picture is damaged."}
