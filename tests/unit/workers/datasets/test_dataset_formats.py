"""How the files of a dataset are read: formats found, texts understood, refusals with their reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.jobs.errors import NotTrainableError
from workers.datasets import formats
from workers.datasets.records import Box, Record, Refusal, Remark


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_folder_a_label_with_and_without_splits(tmp_path: Path) -> None:
    put(
        tmp_path,
        "photos/cat/1.jpg",
        "photos/dog/deep/2.PNG",
        "photos/dog/notes.txt",
        "photos/dog/.hidden.png",
    )
    assert formats.detect(tmp_path) == "directory"
    assert list(formats.read(tmp_path, "directory")) == [
        Record("photos/cat/1.jpg", None, label="cat"),
        Record("photos/dog/deep/2.PNG", None, label="dog"),
        Refusal("photos/dog/notes.txt", "not an image by its name"),
        Remark("2 classes from folders below photos"),
        Remark("folders below the classes carry no label: deep"),
        Remark("photos/dog/notes.txt ignored: no images"),
        Remark("photos/dog/.hidden.png left out: hidden"),
    ]


def test_split_folders_are_heeded(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg", "test/dog/3.jpg", "train/4.jpg")
    found = list(formats.read(tmp_path, "directory"))
    assert Refusal("train/4.jpg", "in no label's folder") in found
    assert {(item.path, item.split, item.label) for item in found if isinstance(item, Record)} == {
        ("train/cat/1.jpg", "train", "cat"),
        ("val/cat/2.jpg", "validation", "cat"),
        ("test/dog/3.jpg", "test", "dog"),
    }


def coco(folder: Path, name: str, annotations: list[dict[str, object]]) -> None:
    put(folder, "images/1.jpg", "images/2.jpg")
    document = {
        "images": [
            {"id": 1, "file_name": "1.jpg"},
            {"id": 2, "file_name": "2.jpg"},
            {"id": 3, "file_name": "../x"},
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "mug"}, {"id": 8, "name": "pen"}],
    }
    (folder / name).write_text(json.dumps(document))


def test_coco_captions(tmp_path: Path) -> None:
    coco(
        tmp_path,
        "captions_val2017.json",
        [{"image_id": 1, "caption": " a mug "}, {"image_id": 1, "caption": "b"}],
    )
    assert formats.detect(tmp_path) == "coco"
    assert list(formats.read(tmp_path, "coco")) == [
        Record("images/1.jpg", "validation", answer="a mug"),
        Record("images/1.jpg", "validation", answer="b"),
        Refusal("images/2.jpg", "has neither a caption nor a category"),
        Refusal("../x", "named in the annotations but not there"),
    ]


def test_coco_questions(tmp_path: Path) -> None:
    notes = [
        {"image_id": 1, "question": "how many?", "answer": 2},
        {"image_id": 1, "question": "", "answer": "lost", "caption": "a mug"},
    ]
    coco(tmp_path, "questions.json", notes)
    found = list(formats.read(tmp_path, "coco"))
    assert found[0] == Record("images/1.jpg", question="how many?", answer="2")
    assert not any(isinstance(item, Record) for item in found[1:])


def test_coco_categories_whole_or_in_crops(tmp_path: Path) -> None:
    coco(
        tmp_path,
        "instances.json",
        [
            {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]},
            {"image_id": 2, "category_id": 7, "bbox": [0, 0, 5, 5]},
            {"image_id": 2, "category_id": 8, "bbox": "wide"},
        ],
    )
    assert list(formats.read(tmp_path, "coco"))[:2] == [
        Record("images/1.jpg", None, label="mug"),
        Refusal("images/2.jpg", "shows several categories: use crops"),
    ]
    assert list(formats.read(tmp_path, "coco", boxes="crops"))[:3] == [
        Record("images/1.jpg", None, label="mug", box=Box(1, 2, 3, 4)),
        Record("images/2.jpg", None, label="mug", box=Box(0, 0, 5, 5)),
        Refusal("images/2.jpg", "the box of 'pen' is not four numbers"),
    ]


def test_json_lines_of_every_kind(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    lines: list[object] = [
        {"image": "a.png", "label": "red", "split": "test"},
        {"image": "a.png", "question": "what?", "answer": "that"},
        {"image": "a.png", "caption": "a thing"},
        {
            "image": "a.png",
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "who?"}]},
                {"role": "assistant", "content": "me"},
            ],
        },
        {
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nwhere?"},
                {"from": "gpt", "value": "here"},
            ],
        },
        {"image": "/etc/passwd", "label": "x"},
        {"image": "a.png"},
        [1],
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n{broken\n")
    assert formats.detect(tmp_path) == "jsonl"
    assert list(formats.read(tmp_path, "jsonl")) == [
        Record("a.png", "test", label="red"),
        Record("a.png", "train", question="what?", answer="that"),
        Record("a.png", "train", answer="a thing"),
        Record("a.png", "train", question="who?", answer="me"),
        Record("a.png", "train", question="where?", answer="here"),
        Refusal("train.jsonl:6", "its image '/etc/passwd' is not there"),
        Refusal("train.jsonl:7", "it has no label, caption, question with answer, or messages"),
        Refusal("train.jsonl:8", "not a JSON object"),
        Refusal("train.jsonl:9", "not a JSON object"),
    ]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link.png").symlink_to(secret)
    (data / "rows.jsonl").write_text(json.dumps({"image": "link.png", "label": "a"}))
    assert list(formats.read(data, "jsonl")) == [
        Refusal("rows.jsonl:1", "its image 'link.png' is not there"),
        Remark("link.png left out: a link out of the folder"),
    ]


def test_what_has_no_format_says_which_there_are(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "readme.md")
    with pytest.raises(NotTrainableError, match=r"COCO.*\.jsonl"):
        formats.detect(tmp_path)


def test_one_dataset_teaches_one_thing() -> None:
    assert formats.task_of(iter([Record("a", label="x")])) == "classification"
    assert formats.task_of(iter([Record("a", question="q", answer="x")])) == "vqa"
    assert formats.task_of(iter([Record("a", answer="x")])) == "caption"
    with pytest.raises(NotTrainableError, match="caption and classification"):
        formats.task_of(iter([Record("a", label="x"), Record("b", answer="x")]))
    with pytest.raises(NotTrainableError, match="no examples"):
        formats.task_of(iter([]))
