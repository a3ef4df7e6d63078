"""JSON, lines of JSON and conversations in the shapes of every trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workers.datasets.annotation_files import LABELS, coco, labels, put, read
from workers.datasets import formats
from workers.datasets.records import Box, Record, Refusal, Remark

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


def test_of_several_answers_the_commonest_is_taken_and_said(tmp_path: Path) -> None:
    rows = [{"image": "0.jpg", "question": "what?", "answers": ["pear", "apple", "apple"]}]
    put(tmp_path, {"a.json": rows})
    found = list(formats.read(tmp_path, "json"))
    assert Record("images/0.jpg", question="what?", answer="apple") in found
    assert Remark("questions of a.json with several answers, of which the commonest was taken", 1) in found


def test_a_conversation_without_an_image_gets_none(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]
    rows = [{"id": "1", "conversations": talk}, {"id": "2", "image": "0.jpg", "conversations": talk}]
    records, refused, _ = read(tmp_path, {"a.json": rows})
    assert [record.path for record in records] == ["images/0.jpg"]
    assert refused == [Refusal("a.json:1", "it names no image")]
