"""Annotations that would stop a preparation, or make it wait: each costs its own line and no more."""

from __future__ import annotations

import json
import multiprocessing
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.dialects import postgresql

from app.jobs.errors import NotTrainableError
from tests.unit.workers.datasets.annotation_files import coco, labels, read
from workers.datasets import job
from workers.datasets.formats import tables
from workers.datasets.formats.conversations import clean
from workers.datasets.preparing import UnusableError

DEADLINE_SECONDS = 10


def within_deadline(work: Any, *values: Any) -> None:
    """Do it in a process of its own, which is ended where it takes quadratic time."""
    process = multiprocessing.get_context("fork").Process(target=work, args=values)
    process.start()
    process.join(DEADLINE_SECONDS)
    is_late = process.is_alive()
    process.kill()
    process.join()
    assert not is_late
    assert process.exitcode == 0


def test_marks_of_images_that_are_never_closed_are_looked_through_once() -> None:
    within_deadline(clean, "<img>" * 40_000, [])
    images: list[Any] = []
    assert clean("Picture 1: <img>a\n.jpg</img> what? <img>", images) == "what? <img>"
    assert images == ["a\n.jpg"]


@pytest.mark.parametrize("name", ["http://[bad/x2.jpg", "a/x\ud800.jpg", "\ud800", "x\0\ud800.jpg"])
@pytest.mark.parametrize("kind", ["jsonl", "coco"])
def test_a_name_that_none_can_have_is_refused_alone(tmp_path: Path, name: str, kind: str) -> None:
    rows = [{"image": "0.jpg", "label": "apple"}, {"image": name, "label": "box"}]
    document = coco(images=[{"id": 0, "file_name": "0.jpg"}, {"id": 1, "file_name": name}])
    files: dict[str, dict[str, Any]] = {
        "jsonl": {"rows.jsonl": "\n".join(map(json.dumps, rows))},
        "coco": {"coco.json": document},
    }
    records, refusals, _ = read(tmp_path, files[kind])
    assert labels(records) == {"images/0.jpg": "apple"}
    assert len(refusals) == 1
    assert "not there" in refusals[0].reason or "is an address" in refusals[0].reason


def test_half_characters_in_ids_and_categories_are_replaced(tmp_path: Path) -> None:
    document = coco(
        images=[{"id": "a\ud800", "file_name": "0.jpg"}, {"id": "b\0", "file_name": "1.jpg"}],
        annotations=[
            {"image_id": image, "category_id": category, "bbox": [1, 2, 3, 4]}
            for image, category in (("a\ud800", "c\udc00"), ("b\0", 2))
        ],
        categories=[{"id": "c\udc00", "name": "apple\ud800"}, {"id": 2, "name": "b\0ox"}],
    )
    records, refusals, _ = read(tmp_path, {"coco.json": document})
    assert (labels(records), refusals) == ({"images/0.jpg": "apple?", "images/1.jpg": "box"}, [])


def test_half_characters_in_a_table_of_boxes_are_replaced(tmp_path: Path) -> None:
    label = json.dumps(["apple\ud800"]).replace('"', '""')
    table = f'image,label,xmin,ymin,xmax,ymax\n0.jpg,"{label}",1,2,3,4\n1.jpg,box,1,2,3,4\n'
    records, _, _ = read(tmp_path, {"boxes.csv": table})
    assert labels(records) == {"images/0.jpg": "apple?", "images/1.jpg": "box"}


def test_lists_under_the_name_of_an_image_are_its_labels(tmp_path: Path) -> None:
    records, refusals, _ = read(tmp_path, {"labels.json": {"0.jpg": ["apple"], "1.jpg": ["apple", "box"]}})
    assert labels(records) == {"images/0.jpg": "apple"}
    assert [refusal.reason for refusal in refusals] == ["has several labels: an image teaches one"]
    boxes = {"0.jpg": [{"bbox": [1, 2, 3, 4], "label": "apple"}, {"bbox": [5, 6, 7, 8], "label": "box"}]}
    (tmp_path / "labels.json").unlink()
    records, _, _ = read(tmp_path, {"labels.json": boxes}, boxes="crops")
    assert [(record.label, record.box and record.box.left) for record in records] == [
        ("apple", 1),
        ("box", 5),
    ]


def test_an_image_of_yolo_may_begin_with_a_space(tmp_path: Path) -> None:
    files = {" 2.jpg": b"x", "2.jpg": b"x", " 3.jpg": b"x", "classes.txt": "apple\nbox"}
    boxes = {" 2.txt": "0 .5 .5 .1 .1", "2.txt": "1 .5 .5 .1 .1", " 3.txt": "0 .5 .5 .1 .1"}
    records, _, _ = read(tmp_path, {**files, **boxes})
    assert labels(records) == {" 2.jpg": "apple", "2.jpg": "box", " 3.jpg": "apple"}


def test_places_of_a_yolo_configuration_stay_inside_and_may_be_too_long(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "images").mkdir(parents=True)
    config = {"names": ["apple"], "path": str(outside), "train": "x" * 5_000, "val": "a\0b", "test": "images"}
    files = {"data.yaml": config, "labels/0.txt": "0 .5 .5 .1 .1", "labels/1.txt": "0 .5 .5 .1 .1"}
    records, _, _ = read(tmp_path / "inside", files)
    assert {(record.path, record.split) for record in records} == {
        ("images/0.jpg", "test"),
        ("images/1.jpg", "test"),
    }


def test_lists_of_images_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for format_ in ("yolo", "voc"):
        monkeypatch.setattr(f"workers.datasets.formats.{format_}.MAX_LIST_BYTES", 4)
    yolo = {
        "data.yaml": {"names": ["apple"], "train": "train.txt"},
        "train.txt": "images/0.jpg\n",
        "labels/0.txt": "0 .5 .5 .1 .1",
    }
    records, refusals, _ = read(tmp_path / "yolo", yolo)
    assert [(record.path, record.split) for record in records] == [("images/0.jpg", None)]
    assert [refusal.path for refusal in refusals if "larger than" in refusal.reason] == ["train.txt"]
    voc = {
        "Annotations/0.xml": "<annotation><filename>0.jpg</filename><object><name>apple</name></object></annotation>",
        "ImageSets/Main/train.txt": "0 and more\n",
    }
    records, refusals, _ = read(tmp_path / "voc", voc)
    assert [(record.path, record.split) for record in records] == [("images/0.jpg", None)]
    assert [refusal.path for refusal in refusals if "larger than" in refusal.reason] == [
        "ImageSets/Main/train.txt"
    ]


def test_only_short_cells_are_read_as_python_writes_them(tmp_path: Path) -> None:
    long = "['" + "a" * tables._MAX_LITERAL_CHARACTERS + "']"
    records, _, _ = read(tmp_path, {"rows.csv": f"image,label\n0.jpg,['apple']\n1.jpg,{long}\n"})
    assert records[0].label == "apple"
    assert (records[1].label or "").startswith("['a")


def test_tags_that_are_no_text_are_not_heeded(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": "an apple"}]
    info = {"talks": {"file_name": "talks.json", "tags": {"role_tag": ["a"], "user_tag": {}}}}
    files = {"dataset_info.json": info, "talks.json": [{"conversations": talk, "images": ["0.jpg"]}]}
    records, _, _ = read(tmp_path, files)
    assert [(record.question, record.answer) for record in records] == [("what?", "an apple")]


def test_the_summary_of_a_dataset_without_examples_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its reasons hold, and only for a dataset of the job's own workspace that is not ready."""
    said: list[Any] = []

    class Session:
        def __init__(self, _: Any) -> None: ...

        def __enter__(self) -> Session:
            return self

        def __exit__(self, *_: object) -> None: ...

        def begin(self) -> Session:
            return self

        def execute(self, statement: Any) -> None:
            said.append(statement.compile(dialect=cast(Any, postgresql).dialect()))

    monkeypatch.setattr(job, "Session", Session)
    files = SimpleNamespace(put=lambda *_: None)
    run = cast(Any, SimpleNamespace(engine=None, files=files, task=SimpleNamespace(workspace="mine")))
    errors: list[NotTrainableError] = [
        UnusableError("nothing", {"refused": {"a\0 \ud800": 1}}),
        NotTrainableError("a\0 \ud800"),
    ]
    for error in errors:
        job._publish_refusals(run, uuid.uuid4(), tmp_path / "report", error)
    assert [statement.params["summary"]["refused"] for statement in said] == [{"a ?": 1}] * 2
    for statement in said:
        assert {"mine", "ready"} <= {value for value in statement.params.values() if isinstance(value, str)}
        assert "datasets.workspace = " in str(statement)
        assert "datasets.state != " in str(statement)
