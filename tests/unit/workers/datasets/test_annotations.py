"""Annotations of every kind that people bring: found, told apart, and refused with what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.jobs.errors import NotTrainableError
from tests.unit.workers.datasets.annotation_files import LABELS, coco, labels, put, read
from workers.datasets import formats


@pytest.mark.parametrize(
    "names",
    [
        ["images\\0.jpg", ".\\images\\1.jpg"],
        ["C:\\Users\\me\\data\\images\\0.jpg", "D:\\x\\images\\1.jpg"],
        ["/home/me/images/0.jpg", "file:///home/me/images/1.jpg"],
        ["https://host.example/a/images/0.jpg?x=1", "s3://bucket/images/1.jpg"],
        ["0.JPG", "IMAGES/1.Jpg"],
        ["images/%30.jpg", "1%2Ejpg"],
        ["0", "images/1"],
        ["/pictures/of/me/0.jpg", "\\\\server\\share\\1.jpg"],
        ["0.png", "1.jpeg"],
    ],
)
@pytest.mark.parametrize("kind", ["coco", "csv", "json"])
def test_images_are_found_as_people_name_them(tmp_path: Path, kind: str, names: list[str]) -> None:
    files: dict[str, Any] = {
        "coco": {"a.json": coco(images=[{"id": n, "file_name": name} for n, name in enumerate(names)])},
        "csv": {
            "a.csv": "image,label\n"
            + "".join(f"{n},{v}\n" for n, v in zip(names, LABELS.values(), strict=True))
        },
        "json": {"a.json": [{"image": n, "label": v} for n, v in zip(names, LABELS.values(), strict=True)]},
    }[kind]
    records, refused, _ = read(tmp_path, files)
    assert (labels(records), refused) == (LABELS, [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.json", {"shapes": [{"label": "apple"}], "imagePath": "0.jpg"}),
        ("vqa.json", {"questions": [{"question_id": 1, "image_id": 2, "question": "what?"}]}),
        ("broken.json", '{"images": [{"id": 1, "file_name": "0.jpg"}, '),
        ("list.json", ["0.jpg", "1.jpg"]),
        ("boxes.xml", "<annotations><image name='0.jpg'><box label='apple'/></image></annotations>"),
        ("scores.csv", "image,width,height\n0.jpg,1,2\n1.jpg,3,4\n"),
        ("train.txt", "images/0.jpg\nimages/1.jpg\n"),
        ("odd.jsonl", "0.jpg apple\n1.jpg box\n"),
    ],
)
def test_annotations_that_are_not_understood_are_never_folders(
    tmp_path: Path, name: str, content: Any
) -> None:
    put(tmp_path, {name: content})
    with pytest.raises(NotTrainableError, match=f"{name}.*COCO.*'directory'"):
        formats.detect(tmp_path)
    records, _, remarks = read(tmp_path, {"cat/2.jpg": b"x", "dog/3.jpg": b"x"}, format_="directory")
    assert labels(records).items() >= {"cat/2.jpg": "cat", "dog/3.jpg": "dog"}.items()
    assert f"{name} was not read: the dataset was read as folders, as asked" in remarks


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("package.json", {"name": "x", "version": "1"}),
        ("stats.csv", "class,count\napple,10\nbox,20\n"),
        ("README.txt", "Photos of apples.\nThanks to 2 friends.\n"),
        ("names.txt", "apple\nbox\n"),
        ("sitemap.xml", "<urlset><url/></urlset>"),
        ("dataset_infos.json", {"default": {"description": "x"}}),
    ],
)
def test_other_texts_beside_folders_are_no_annotations(tmp_path: Path, name: str, content: Any) -> None:
    put(tmp_path, {name: content})
    assert formats.detect(tmp_path) == "directory"


def test_annotations_in_two_formats_leave_the_choice(tmp_path: Path) -> None:
    put(tmp_path, {"a.json": coco(), "labels.csv": "image,label\n0.jpg,pear\n1.jpg,jar\n"})
    with pytest.raises(NotTrainableError, match=r"'coco' reads a\.json; format 'csv' reads labels\.csv"):
        formats.detect(tmp_path)
    records, _, remarks = read(tmp_path, {}, format_="csv")
    assert labels(records) == {"images/0.jpg": "pear", "images/1.jpg": "jar"}
    assert "a.json was not read: the dataset was read in the format 'csv'" in remarks


def test_a_format_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotTrainableError, match="no annotations in the format 'voc'"):
        read(tmp_path, {}, format_="voc")


def test_images_that_no_annotation_names_are_counted(tmp_path: Path) -> None:
    _, _, remarks = read(tmp_path, {"images/2.jpg": b"x", "images/3.jpg": b"x", "a.json": coco()})
    assert remarks == ["2 image files are named by no annotation and left out, such as 'images/2.jpg'"]


def test_splits_of_columns_files_and_folders(tmp_path: Path) -> None:
    files = {
        "test/5.jpg": b"x",
        "val.csv": "image,label,split\n0.jpg,apple,\n1.jpg,box,train\ntest/5.jpg,box,\n",
        "train.csv": "image,label,split\n0.jpg,apple,somewhere\n",
    }
    records, _, remarks = read(tmp_path, files)
    assert [(record.path, record.split) for record in records] == [
        ("images/0.jpg", "train"),
        ("images/0.jpg", "validation"),
        ("images/1.jpg", "train"),
        ("test/5.jpg", "test"),
    ]
    assert remarks == ["the splits 'somewhere' are no train, validation or test: they were ignored"]


def test_lines_about_something_else_are_no_annotations(tmp_path: Path) -> None:
    put(tmp_path, {"log.jsonl": '{"loss": 1.0}\n{"loss": 0.5}\n'})
    assert formats.detect(tmp_path) == "directory"
    put(tmp_path, {"log.jsonl": '{"image": "0.jpg", "score": 1.0}\n{"image": "1.jpg", "score": 2.0}\n'})
    with pytest.raises(NotTrainableError, match=r"log\.jsonl: JSON lines that say nothing known"):
        formats.detect(tmp_path)


def test_numbers_of_classes_are_no_images(tmp_path: Path) -> None:
    many = {f"cat/{number}.jpg": b"x" for number in range(20)} | {
        f"dog/{number}.jpg": b"x" for number in range(20)
    }
    lists = {
        "classes.csv": "id,name\n0,cat\n1,dog\n",
        "labels.txt": "0 cat\n1 dog\n",
        "names.csv": "0,cat\n1,dog\n",
        "classes.json": [{"id": 0, "label": "cat"}, {"id": 1, "label": "dog"}],
        "map.json": {"0": "cat", "1": "dog"},
    }
    put(tmp_path, many | lists)
    assert formats.detect(tmp_path) == "directory"


def test_what_is_made_to_do_harm_is_refused(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    good = '{"image": "1.jpg", "label": "box"}'
    lines = f'{good}\n{{"image": "0.jpg", "label": {deep}}}\n{{"image": {deep}, "messages": {deep}}}\n'
    records, refused, _ = read(tmp_path / "a", {"a.jsonl": lines})
    assert labels(records) == {"images/1.jpg": "box"}
    assert len(refused) == 2
    notes = f'[{{"image_id": 0, "caption": {deep}}}, {{"image_id": 1, "caption": "x"}}]'
    images = json.dumps(coco()["images"])
    records, refused, _ = read(tmp_path / "b", {"a.json": f'{{"images": {images}, "annotations": {notes}}}'})
    assert [record.answer for record in records] == ["x"]
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    files = {"data.yaml": f"{bomb}names: [*a39, box]\npath: *a39\n", "labels/1.txt": "1 0.5 0.5 0.2 0.2\n"}
    records, _, _ = read(tmp_path / "c", files)
    assert labels(records) == {"images/1.jpg": "box"}
