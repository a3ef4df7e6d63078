"""JSON lines: an image with a label, caption, question and answer, or a conversation on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workers.datasets.formats.rows import RowReader
from workers.datasets.formats.source import Source
from workers.datasets.records import Found, Refusal
from workers.datasets.text_files import find_encoding, read_lines

MAX_LINE_CHARACTERS = 1 << 26
"""Of one line; the longest of real data hold an image as base64. A longer one is refused."""


def read_json_lines(source: Source, infos: Mapping[str, Any]) -> Found:
    """Each line as a row; `infos` are the entries of `dataset_info.json` by annotation file."""
    for name in source.annotations:
        reader = RowReader(source, name, infos.get(name))
        encoding = find_encoding(source.folder / name)
        yield from encoding.remarks(name)
        with encoding.open(source.folder / name) as lines:
            for number, line in enumerate(read_lines(lines, MAX_LINE_CHARACTERS), 1):
                if line.strip("\ufeff \t\r\n"):
                    yield from _read_line(reader, f"{name}:{number}", line)


def _read_line(reader: RowReader, place: str, line: str) -> Found:
    try:
        row = json.loads(line.strip("\ufeff \t\r\n"), strict=False)
    except (ValueError, RecursionError):
        row = None
    if row is None:
        yield Refusal(place, "not a JSON object")
    else:
        yield from reader.read(row, place)
