"""JSON lines: an image with a label, caption, question and answer, or a conversation on each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from workers.datasets.records import (
    MAX_TEXT_CHARACTERS,
    Found,
    Record,
    Refusal,
    files_below,
    inside,
    split_named,
)

_MAX_LINE_CHARACTERS = 1 << 20


def read_json_lines(folder: Path) -> Found:
    """Each line: `image` beside `label`, `caption`, `question` and `answer`, or `messages`."""
    for name in files_below(folder):
        if not name.lower().endswith(".jsonl"):
            continue
        fallback = split_named(PurePosixPath(name).stem)
        here = str(PurePosixPath(name).parent)
        with (folder / name).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(_bounded(lines), 1):
                if line.strip():
                    yield from _json_line(folder, here, f"{name}:{number}", line, fallback)


def _bounded(lines: IO[str]) -> Iterator[str]:
    """Lines; one that is longer than any example comes in pieces, none of which is valid JSON."""
    while line := lines.readline(_MAX_LINE_CHARACTERS):
        yield line


def _json_line(folder: Path, here: str, place: str, line: str, fallback: Any) -> Found:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        yield Refusal(place, "not a JSON object")
        return
    image = row.get("image") or row.get("image_path") or row.get("file_name")
    path = inside(folder, image, here, ".", "images") if isinstance(image, str) else None
    if path is None:
        yield Refusal(place, f"its image '{str(image)[:100]}' is not there" if image else "it names no image")
        return
    split = split_named(str(row["split"])) if row.get("split") else fallback
    found = list(_texts(row))
    if not found:
        yield Refusal(place, "it has no label, caption, question with answer, or messages")
    for texts in found:
        label, question, answer = (
            texts[name][:MAX_TEXT_CHARACTERS] if name in texts else None
            for name in ("label", "question", "answer")
        )
        yield Record(path, split, label, question, answer)


def _texts(row: dict[str, Any]) -> Iterator[dict[str, str]]:
    def text(name: str) -> str:
        value = row.get(name)
        return str(value).strip() if isinstance(value, str | int | float) else ""

    if text("label"):
        yield {"label": text("label")}
    elif text("question") and text("answer"):
        yield {"question": text("question"), "answer": text("answer")}
    elif text("caption"):
        yield {"answer": text("caption")}
    else:
        yield from _turns(row.get("messages") or row.get("conversations"))


def _turns(messages: Any) -> Iterator[dict[str, str]]:
    """Question and answer from each pair of turns, in OpenAI's words or in LLaVA's."""
    question = ""
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict):
            continue
        who = str(message.get("role") or message.get("from") or "")
        said = _said(message.get("content", message.get("value")))
        if who in ("user", "human"):
            question = said
        elif who in ("assistant", "gpt") and question and said:
            yield {"question": question, "answer": said}
            question = ""


def _said(content: Any) -> str:
    if isinstance(content, list):
        parts = [
            one.get("text", "") for one in content if isinstance(one, dict) and one.get("type") == "text"
        ]
        content = " ".join(str(part) for part in parts)
    return str(content or "").replace("<image>", "").strip()
