"""Annotations in every encoding that people's tools write: read, and said where it was guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workers.datasets.annotation_files import coco, labels, put, read
from workers.datasets import formats


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
