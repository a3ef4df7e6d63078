"""COCO documents: ids however written, what is listed twice or nowhere, crowds and categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.workers.datasets.annotation_files import LABELS, coco, labels, put, read
from workers.datasets import formats
from workers.datasets.records import Box, Record, Refusal, Remark


@pytest.mark.parametrize(
    ("images", "notes", "categories"),
    [
        ([0, 1], ["0", "1"], [0, 1]),
        (["0", "1"], [0, 1], ["0", "1"]),
        ([0.0, 1.0], ["0", "1.0"], [0.0, 1.0]),
        (["0000", "0001"], [0, 1], ["0", "01"]),
        ([7_000_000_000_000_000_000_000, "x1"], ["7000000000000000000000", "x1"], [" 0 ", 1]),
    ],
    ids=["text to number", "number to text", "floats", "zero-padded", "large and words"],
)
def test_ids_are_one_however_they_are_written(
    tmp_path: Path, images: Any, notes: Any, categories: Any
) -> None:
    document = coco(
        images=[{"id": key, "file_name": f"{number}.jpg"} for number, key in enumerate(images)],
        annotations=[{"image_id": key, "category_id": str(place)} for place, key in enumerate(notes)],
        categories=[
            {"id": key, "name": name} for key, name in zip(categories, ("apple", "box"), strict=True)
        ],
    )
    records, refused, remarks = read(tmp_path, {"a.json": document})
    assert labels(records) == LABELS
    assert refused + remarks == []


def test_ids_that_only_differ_in_their_zeros_stay_apart_where_both_are_there(tmp_path: Path) -> None:
    document = coco(
        images=[{"id": "1", "file_name": "0.jpg"}, {"id": "01", "file_name": "1.jpg"}],
        annotations=[{"image_id": "1", "category_id": 0}, {"image_id": "01", "category_id": 1}],
    )
    records, _, remarks = read(tmp_path, {"a.json": document})
    assert labels(records) == LABELS
    assert "different images" in remarks[0]


def test_two_images_of_one_id_are_refused_by_name(tmp_path: Path) -> None:
    document = coco(images=[{"id": 0, "file_name": "0.jpg"}, {"id": 0, "file_name": "1.jpg"}])
    records, refused, _ = read(tmp_path, {"a.json": document})
    assert records == []
    assert [refusal.path for refusal in refused] == ["0.jpg", "1.jpg"]
    assert "'1.jpg'" in refused[0].reason


def test_duplicates_and_strays_of_coco_are_counted(tmp_path: Path) -> None:
    document = coco()
    document["images"] += [document["images"][0], None, {"id": 9}]
    document["annotations"] += [None, {"image_id": 55, "category_id": 0}, {"image_id": 1, "category_id": 77}]
    document["categories"] += [None, {"id": 5, "name": "apple"}]
    records, refused, remarks = read(tmp_path, {"a.json": document})
    assert labels(records) == LABELS
    assert refused == []
    said = "\n".join(remarks)
    for words in (
        "1 images of a.json are listed a second time",
        "1 annotations of a.json are no objects that can be read",
        "1 images of a.json have no file_name",
        "1 annotations of a.json name an image id that is not there",
        "name a category id that is not there",
        "such as 'apple'",
    ):
        assert words in said


def test_a_category_id_of_two_names_labels_nothing(tmp_path: Path) -> None:
    document = coco(
        categories=[{"id": 0, "name": "apple"}, {"id": 1, "name": "box"}, {"id": 0, "name": "pear"}]
    )
    records, refused, _ = read(tmp_path, {"a.json": document})
    assert labels(records) == {"images/1.jpg": "box"}
    assert "'apple' and 'pear'" in refused[0].reason


@pytest.mark.parametrize("notes", [None, [], [None], "absent"])
def test_coco_without_annotations_is_no_folder_of_labels(tmp_path: Path, notes: Any) -> None:
    document = coco(annotations=notes)
    if notes == "absent":
        del document["annotations"]
    put(tmp_path, {"a.json": document})
    assert formats.detect(tmp_path) == "coco"
    records, refused, _ = read(tmp_path, {})
    assert records == []
    assert len(refused) == 2


def test_crowds_are_left_out_of_crops_and_empty_boxes_refused(tmp_path: Path) -> None:
    document = coco()
    document["annotations"] += [
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1},
        {"image_id": 1, "category_id": 0, "bbox": [5, 5, 0, 9]},
        {"image_id": 1, "category_id": 0, "bbox": ["1", "2", "3.5", "4"]},
    ]
    put(tmp_path, {"a.json": document})
    found = list(formats.read(tmp_path, "coco", boxes="crops"))
    assert Remark("regions of crowds (iscrowd) left out, which are not one object", 1) in found
    assert Refusal("images/1.jpg", "the box of 'apple' has no area") in found
    assert Record("images/1.jpg", label="apple", box=Box(1, 2, 3.5, 4, (40, 30))) in found


def test_coco_annotations_that_name_their_category_themselves(tmp_path: Path) -> None:
    document = coco(annotations=[{"image_id": 0, "category_name": "apple"}, {"image_id": 1, "label": "box"}])
    del document["categories"]
    assert labels(read(tmp_path, {"a.json": document})[0]) == LABELS
