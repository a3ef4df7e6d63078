"""Pascal VOC: a file of XML an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.workers.datasets.annotation_files import put, read
from workers.datasets import formats
from workers.datasets.records import Box

VOC = """<?xml version="1.0"?><annotation><folder>x</folder><filename>{name}</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>{label}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox></object>
</annotation>"""


@pytest.mark.parametrize("place", ["Annotations/", "images/", ""])
def test_pascal_voc(tmp_path: Path, place: str) -> None:
    files = {
        f"{place}{number}.xml": VOC.format(name=f"{number}.jpg", label=label)
        for number, label in enumerate(("apple", "box"))
    }
    files["ImageSets/Main/train.txt"] = "0\n"
    files["ImageSets/Main/test.txt"] = "1\n"
    put(tmp_path, files)
    assert formats.detect(tmp_path) == "voc"
    records, refused, _ = read(tmp_path, {}, boxes="crops")
    assert refused == []
    assert [(record.path, record.split, record.label, record.box) for record in records] == [
        ("images/0.jpg", "train", "apple", Box(1, 2, 10, 20, (40, 30))),
        ("images/1.jpg", "test", "box", Box(1, 2, 10, 20, (40, 30))),
    ]


def test_voc_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]>' + VOC.format(name="0.jpg", label="&b;")
    files = {
        "a/0.xml": bomb,
        "a/1.xml": VOC.format(name="1.jpg", label="box")[:-20],
        "a/2.xml": VOC.format(name="2.jpg", label="box"),
    }
    records, refused, _ = read(tmp_path, files)
    assert records == []
    assert [(refusal.path, refusal.reason[:13]) for refusal in refused] == [
        ("a/0.xml", "not valid XML"),
        ("a/1.xml", "not valid XML"),
        ("a/2.xml", "its image '2."),
    ]
