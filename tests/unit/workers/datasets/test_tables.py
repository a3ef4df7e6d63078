"""Tables of labels, captions, questions and boxes, whatever their columns and separators are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.workers.datasets.annotation_files import LABELS, labels, put, read
from workers.datasets import formats
from workers.datasets.records import Box, Refusal


def test_tables_of_every_kind(tmp_path: Path) -> None:
    tables = {
        "metadata.csv": "file_name,label\nimages/0.jpg,apple\nimages/1.jpg,box\n",
        "labels.csv": '"Filename";"Class"\n"0.jpg";"apple"\n"1.jpg";"box"\n',
        "a.tsv": "path\ttarget\textra\nimages/0.jpg\tapple\t1\nimages/1.jpg\tbox\t2\n",
        "b.csv": "id,breed\n0,apple\n1,box\n",
        "c.csv": "id_code,diagnosis\n0,apple\n1,box\n",
        "d.csv": "0.jpg,apple\n1.jpg,box\n",
        "e.csv": "image_path|category|split\n0.jpg|apple|train\n1.jpg|box|train\n",
        "f.csv": ",filename,apple,box\n0,0.jpg,1,0\n1,1.jpg,0,1\n",
        "g.txt": "images/0.jpg apple\nimages/1.jpg box\n",
        "h.csv": "filename, label\n0.jpg, apple\n\n1.jpg, box\n",
        "i.csv": 'image,label\n0.jpg,"[\'apple\']"\n1.jpg,"[""box""]"\n',
    }
    for number, (name, text) in enumerate(tables.items()):
        folder = put(tmp_path / str(number), {name: text})
        assert formats.detect(folder) == "csv", name
        records, refused, _ = read(folder, {})
        assert (labels(records), refused) == (LABELS, []), name


def test_a_guessed_column_is_said(tmp_path: Path) -> None:
    _, _, remarks = read(tmp_path, {"a.csv": "id,diagnosis\n0,apple\n1,box\n"})
    assert remarks == [
        "the column 'diagnosis' of a.csv was taken as the label",
        "2 images were found by their name without its suffix, such as '0' as 'images/0.jpg'",
    ]


def test_tables_of_captions_and_questions(tmp_path: Path) -> None:
    records, _, _ = read(
        tmp_path / "a", {"a.csv": "image| comment_number| comment\n0.jpg| 0| a\n0.jpg| 1| b, c\n"}
    )
    assert [record.answer for record in records] == ["a", "b, c"]
    records, _, remarks = read(
        tmp_path / "b", {"a.csv": "image,question,answer,category\n0.jpg,what?,that,x\n1.jpg,who?,me,y\n"}
    )
    assert [(record.question, record.answer, record.label) for record in records] == [
        ("what?", "that", None),
        ("who?", "me", None),
    ]
    assert remarks == ["'category' of a.csv was left out: its rows teach questions with answers"]


def test_several_labels_of_an_image_are_refused_and_counted(tmp_path: Path) -> None:
    table = "filename,apple,box\n0.jpg,1,1\n1.jpg,0,1\nimages/0.jpg,0,0\n"
    records, refused, remarks = read(tmp_path / "a", {"_classes.csv": table})
    assert labels(records) == {"images/1.jpg": "box"}
    assert [refusal.reason for refusal in refused] == [
        "has several labels: an image teaches one",
        "none of its labels is 1",
    ]
    assert "a column a label (apple, box)" in remarks[0]
    rows = [{"image": "0.jpg", "label": ["apple", "box"]}, {"image": "1.jpg", "labels": ["box"]}]
    records, refused, _ = read(tmp_path / "b", {"a.json": rows})
    assert labels(records) == {"images/1.jpg": "box"}
    assert refused == [Refusal("a.json:1", "has several labels: an image teaches one")]


def test_boxes_in_a_table_belong_to_their_image(tmp_path: Path) -> None:
    table = (
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        "0.jpg,40,30,apple,1,2,11,22\n1.jpg,40,30,box,0,0,5,5\n0.jpg,40,30,box,3,3,9,9\n"
    )
    records, _, _ = read(tmp_path, {"a.csv": table}, boxes="crops")
    assert [(record.path, record.label, record.box) for record in records] == [
        ("images/0.jpg", "apple", Box(1, 2, 10, 20, (40, 30))),
        ("images/0.jpg", "box", Box(3, 3, 6, 6, (40, 30))),
        ("images/1.jpg", "box", Box(0, 0, 5, 5, (40, 30))),
    ]
    records, refused, _ = read(tmp_path, {})
    assert labels(records) == {"images/1.jpg": "box"}
    assert refused == [Refusal("images/0.jpg", "shows several categories: use crops")]


def test_names_stand_before_numbers_and_placeholders_are_not_read(tmp_path: Path) -> None:
    files = {
        "train.csv": "sep=;\nimage;label;label_name\n0.jpg;0;apple\n1.jpg;1;box\n",
        "sample_submission.csv": "image,label\n0.jpg,x\n1.jpg,x\n",
        "more.json.gz": b"\x1f\x8b",
    }
    records, refused, _ = read(tmp_path, files)
    assert labels(records) == LABELS
    assert [(refusal.path, refusal.reason.split("'")[1].split(":")[0]) for refusal in refused] == [
        ("more.json.gz", "compressed"),
        ("sample_submission.csv", "a form for submissions, whose labels are placeholders"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("captions.txt", "0.jpg\tA dog runs, fast\n1.jpg\tA red cat\n", "image and caption were taken"),
        ("token.txt", "0.jpg#0\tA dog runs, fast\n1.jpg#0\tA red cat\n", "image and caption were taken"),
        (
            "a.csv",
            'image,beschreibung\n0.jpg,"A dog runs, fast"\n1.jpg,A red cat\n',
            "was taken as the caption",
        ),
    ],
)
def test_sentences_without_a_known_column_are_captions(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    records, refused, remarks = read(tmp_path, {name: text})
    assert [(record.answer, record.label) for record in records] == [
        ("A dog runs, fast", None),
        ("A red cat", None),
    ]
    assert refused == []
    assert said in remarks[0]
