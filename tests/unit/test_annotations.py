"""Annotations of every kind that people bring: read as they were meant, or refused with what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.jobs.errors import NotTrainableError
from workers.datasets import formats
from workers.datasets.records import SHARES, Box, Format, Record, Refusal, Remark

LABELS = {"images/0.jpg": "apple", "images/1.jpg": "box"}


def put(folder: Path, files: Mapping[str, Any]) -> Path:
    """Files of text, bytes, or whatever becomes JSON, and two images."""
    for name, content in {"images/0.jpg": b"x", "images/1.jpg": b"x", **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read(
    folder: Path, files: Mapping[str, Any], *, boxes: formats.Boxes = "whole", format_: Format | None = None
) -> tuple[list[Record], list[Refusal], list[str]]:
    put(folder, files)
    found = list(formats.read(folder, format_ or formats.detect(folder), boxes=boxes))
    return (
        [entry for entry in found if isinstance(entry, Record)],
        [entry for entry in found if isinstance(entry, Refusal)],
        [entry.sentence for entry in found if isinstance(entry, Remark)],
    )


def labels(records: list[Record]) -> dict[str, str | None]:
    return {record.path: record.label for record in records}


def coco(**changed: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30} for number in range(2)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": number, "bbox": [1, 2, 3, 4]}
            for number in range(2)
        ],
        "categories": [{"id": 0, "name": "apple"}, {"id": 1, "name": "box"}],
        **changed,
    }


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda text: b"\xef\xbb\xbf" + text.encode(), None),
        (lambda text: text.encode("utf-16"), "UTF-16"),
        (lambda text: text.encode("utf-16-be"), "UTF-16"),
        (lambda text: text.encode("latin-1"), "Latin-1"),
        (lambda text: text.encode("utf-32"), "UTF-32"),
    ],
    ids=["byte order mark", "UTF-16", "UTF-16 without mark", "Latin-1", "UTF-32"],
)
@pytest.mark.parametrize("kind", ["coco", "csv", "jsonl"])
def test_every_encoding_is_read_and_said(tmp_path: Path, kind: str, encode: Any, said: str | None) -> None:
    rows = [{"image": "0.jpg", "label": "Äpfel"}, {"image": "1.jpg", "label": "Öl"}]
    document = coco(categories=[{"id": number, "name": row["label"]} for number, row in enumerate(rows)])
    text = {
        "coco": json.dumps(document, ensure_ascii=False),
        "csv": "image,label\r\n0.jpg,Äpfel\r\n1.jpg,Öl\r\n",
        "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
    }[kind]
    put(tmp_path, {f"data.{'json' if kind == 'coco' else kind}": encode(text)})
    assert formats.detect(tmp_path) == kind
    records, refused, remarks = read(tmp_path, {})
    assert labels(records) == {"images/0.jpg": "Äpfel", "images/1.jpg": "Öl"}
    assert refused == []
    assert [said in remark for remark in remarks] == ([True] if said else [])


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


ASKED = [("what?", "apple"), ("where?", "here")]


@pytest.mark.parametrize(
    "row",
    [
        {
            "image": "0.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nwhat?"},
                {"from": "gpt", "value": "apple"},
                {"from": "human", "value": "where?"},
                {"from": "gpt", "value": "here"},
            ],
        },
        {
            "images": ["images/0.jpg"],
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "<image>what?"},
                {"role": "assistant", "content": "apple"},
                {"role": "user", "content": "where?"},
                {"role": "assistant", "content": "here"},
            ],
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "file:///data/images/0.jpg"}},
                        {"type": "text", "text": "what?"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "apple"}]},
                {"role": "user", "content": "where?"},
                {"role": "assistant", "content": "here"},
            ],
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": "0.jpg"}, {"type": "text", "text": "what?"}],
                },
                {"role": "assistant", "content": "apple"},
                {"role": "user", "content": "where?"},
                {"role": "assistant", "content": "here"},
            ],
        },
        {"query": "<image>where?", "response": "here", "history": [["what?", "apple"]], "images": ["0.jpg"]},
        {
            "instruction": "where?",
            "input": "",
            "output": "here",
            "history": [["what?", "apple"]],
            "images": ["0.jpg"],
        },
        {
            "id": 7,
            "conversations": [
                {"from": "user", "value": "Picture 1: <img>images/0.jpg</img>\nwhat?"},
                {"from": "assistant", "value": "apple"},
                {"from": "user", "value": "where?"},
                {"from": "assistant", "value": "here"},
            ],
        },
        {"image": {"path": "0.jpg"}, "qa_pairs": [{"question": q, "answer": a} for q, a in ASKED]},
        {"image": "0.jpg", "questions": [q for q, _ in ASKED], "answers": [a for _, a in ASKED]},
    ],
    ids=[
        "llava",
        "swift",
        "openai parts",
        "image parts",
        "query",
        "alpaca",
        "qwen",
        "pairs",
        "lists side by side",
    ],
)
@pytest.mark.parametrize("kind", ["json", "jsonl", "lines in .json", "list in .jsonl"])
def test_conversations_of_every_kind(tmp_path: Path, kind: str, row: dict[str, Any]) -> None:
    lines = json.dumps(row) + "\n" + json.dumps(row) + "\n"
    file: dict[str, Any] = {
        "json": {"a.json": [row, row]},
        "jsonl": {"a.jsonl": lines},
        "lines in .json": {"a.json": lines},
        "list in .jsonl": {"a.jsonl": json.dumps([row, row], indent=1)},
    }[kind]
    records, refused, _ = read(tmp_path, file)
    assert refused == []
    assert {record.path for record in records} == {"images/0.jpg"}
    assert [(record.question, record.answer) for record in records] == ASKED * 2


def test_llama_factory_names_its_own_columns(tmp_path: Path) -> None:
    files = {
        "dataset_info.json": {
            "mine": {
                "file_name": "mine.json",
                "formatting": "sharegpt",
                "columns": {"messages": "talk", "images": "pics"},
                "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "me", "assistant_tag": "it"},
            }
        },
        "mine.json": [
            {
                "pics": ["0.jpg"],
                "talk": [{"who": "me", "said": "<image>what?"}, {"who": "it", "said": "apple"}],
            }
        ],
    }
    records, refused, _ = read(tmp_path, files)
    assert refused == []
    assert [(record.question, record.answer) for record in records] == [("what?", "apple")]


def test_several_images_of_a_conversation_are_refused(tmp_path: Path) -> None:
    row = {"images": ["0.jpg", "1.jpg"], "query": "<image><image>same?", "response": "no"}
    _, refused, _ = read(tmp_path, {"a.jsonl": json.dumps(row) + "\n" + json.dumps(row)})
    assert refused[0] == Refusal("a.jsonl:1", "shows several images: an example has one")


def test_an_image_within_a_line_is_an_image(tmp_path: Path) -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="
    row = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "?"}],
            },
            {"role": "assistant", "content": "apple"},
        ]
    }
    records, _, _ = read(
        tmp_path, {"a.jsonl": json.dumps(row) + "\n" + json.dumps({"image": uri, "caption": "b"})}
    )
    assert [record.answer for record in records] == ["apple", "b"]
    assert (tmp_path / records[0].path).read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert records[0].path == records[1].path


@pytest.mark.parametrize(
    "document",
    [
        [{"file_name": "0.jpg", "label": "apple"}, {"file_name": "1.jpg", "label": "box"}],
        {"data": [{"image": "0.jpg", "class": "apple"}, {"image": "1.jpg", "class": "box"}]},
        {
            "images": [{"filename": "0.jpg", "label": "apple"}, {"filename": "1.jpg", "label": "box"}],
            "info": {},
        },
        {"0.jpg": "apple", "1.jpg": "box"},
        {"classes": ["apple", "box"], "labels": {"0": 0, "1": 1}},
        {"classes": ["apple", "box"], "labels": {"images/0.jpg": {"label": "apple"}, "images/1.jpg": "box"}},
    ],
    ids=["list", "under a key", "images with labels", "mapping", "FiftyOne", "FiftyOne by name"],
)
def test_json_with_labels(tmp_path: Path, document: Any) -> None:
    put(tmp_path, {"a.json": document})
    assert formats.detect(tmp_path) == "json"
    records, refused, _ = read(tmp_path, {})
    assert (labels(records), refused) == (LABELS, [])


def test_hugging_face_objects(tmp_path: Path) -> None:
    rows = [
        {"file_name": "0.jpg", "objects": {"bbox": [[1, 2, 3, 4], [0, 0, 2, 2]], "categories": [0, "box"]}}
    ]
    records, _, _ = read(tmp_path, {"metadata.jsonl": json.dumps(rows[0]) + "\n"}, boxes="crops")
    assert [(record.label, record.box) for record in records] == [
        ("0", Box(1, 2, 3, 4)),
        ("box", Box(0, 0, 2, 2)),
    ]


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
    assert remarks == ["the splits 'somewhere' are no train, validation or test: they were not heeded"]


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


def test_long_lines_and_documents_on_one_line_are_told_apart(tmp_path: Path) -> None:
    long = "x" * (3 << 19)
    document = coco(
        annotations=[{"image_id": n, "category_id": n, "segmentation": {"counts": long}} for n in (0, 1)]
    )
    put(tmp_path / "a", {"a.json": document})
    assert formats.detect(tmp_path / "a") == "coco"
    row = json.dumps({"image": "0.jpg", "note": long, "label": "apple"})
    for name in ("a.jsonl", "a.ndjson"):
        records, refused, _ = read(tmp_path / name, {name: f"{row}\n{row}\n"})
        assert ([record.label for record in records], refused) == (["apple"] * 2, [])


def test_lines_about_something_else_are_no_annotations(tmp_path: Path) -> None:
    put(tmp_path, {"log.jsonl": '{"loss": 1.0}\n{"loss": 0.5}\n'})
    assert formats.detect(tmp_path) == "directory"
    put(tmp_path, {"log.jsonl": '{"image": "0.jpg", "score": 1.0}\n{"image": "1.jpg", "score": 2.0}\n'})
    with pytest.raises(NotTrainableError, match=r"log\.jsonl: JSON lines that say nothing known"):
        formats.detect(tmp_path)


def test_of_several_answers_the_commonest_is_taken_and_said(tmp_path: Path) -> None:
    rows = [{"image": "0.jpg", "question": "what?", "answers": ["pear", "apple", "apple"]}]
    put(tmp_path, {"a.json": rows})
    found = list(formats.read(tmp_path, "json"))
    assert Record("images/0.jpg", question="what?", answer="apple") in found
    assert Remark("questions of a.json with several answers, of which the commonest was taken", 1) in found


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


def test_coco_annotations_that_name_their_category_themselves(tmp_path: Path) -> None:
    document = coco(annotations=[{"image_id": 0, "category_name": "apple"}, {"image_id": 1, "label": "box"}])
    del document["categories"]
    assert labels(read(tmp_path, {"a.json": document})[0]) == LABELS


@pytest.mark.parametrize(
    ("encoding", "texts", "said"),
    [
        ("gbk", ("猫", "狗狗"), "GBK"),
        ("shift_jis", ("ねこ", "カメラ"), "Shift-JIS"),
        ("latin-1", ("Äpfel", "Crème brûlée"), "Latin-1"),
        ("cp1252", ("Ö", "été – niño"), "Latin-1"),
    ],
)
def test_other_encodings_are_found_by_their_bytes(
    tmp_path: Path, encoding: str, texts: Any, said: str
) -> None:
    table = f"image,label\n0.jpg,{texts[0]}\n1.jpg,{texts[1]}\n"
    records, _, remarks = read(tmp_path, {"a.csv": table.encode(encoding)})
    assert tuple(labels(records).values()) == texts
    assert said in remarks[0]


def test_a_conversation_without_an_image_gets_none(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]
    rows = [{"id": "1", "conversations": talk}, {"id": "2", "image": "0.jpg", "conversations": talk}]
    records, refused, _ = read(tmp_path, {"a.json": rows})
    assert [record.path for record in records] == ["images/0.jpg"]
    assert refused == [Refusal("a.json:1", "it names no image")]


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
