"""YOLO: a text file of boxes an image, and classes by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.workers.datasets.annotation_files import labels, put, read
from workers.datasets import formats
from workers.datasets.records import SHARES, Refusal


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"data.yaml": "names: [apple, box]\ntrain: ../images\n", "labels/0.txt": "0 0.5 0.5 0.2 0.4\n",
             "labels/1.txt": "1 0.1 0.1 0.2 0.2 0.9\n"},
            ["train", "train"],
        ),
        (
            {"data.yaml": "names:\n  0: apple\n  1: box\npath: /home/me/d\n", "images/0.txt": "0 0.5 0.5 0.2 0.4\n",
             "images/1.txt": "1 0.1 0.1 0.2 0.2\n"},
            [None, None],
        ),
        (
            {"classes.txt": "apple\nbox\n", "labels/0.txt": "0 0.5 0.5 0.2 0.4\n",
             "labels/1.txt": "1 0 0 0.2 0 0.2 0.2 0 0.2\n"},
            [None, None],
        ),
    ],
    ids=["labels beside images", "next to the images", "classes.txt and an outline"],
)  # fmt: skip
def test_yolo(tmp_path: Path, files: dict[str, Any], expected: list[str | None]) -> None:
    put(tmp_path, files)
    assert formats.detect(tmp_path) == "yolo"
    records, refused, _ = read(tmp_path, {}, boxes="crops")
    assert refused == []
    assert [(record.path, record.label, record.split) for record in records] == [
        ("images/0.jpg", "apple", expected[0]),
        ("images/1.jpg", "box", expected[1]),
    ]
    box = records[0].box
    assert box is not None
    assert box.drawn_on == SHARES
    assert (box.left, box.top, box.width, box.height) == pytest.approx((0.4, 0.3, 0.2, 0.4))


def test_yolo_names_what_does_not_fit(tmp_path: Path) -> None:
    files = {
        "labels/0.txt": "0 0.5 0.5 0.2 0.4\n7 0.1 0.1 0.1 0.1\nx\n",
        "classes.txt": "apple",
        "labels/9.txt": "0 0 0 1 1",
    }
    records, refused, _ = read(tmp_path, files | {"labels/0.txt": "0 0.5 0.5 0.2 0.4\n7 0.1 0.1 0.1 0.1\n"})
    assert labels(records) == {"images/0.jpg": "apple"}
    assert refused == [
        Refusal("labels/0.txt:2", "there is no class '7'"),
        Refusal("images/1.jpg", "has no boxes"),
        Refusal("labels/9.txt", "there is no image of its name"),
    ]
