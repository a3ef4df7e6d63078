"""The page's built files: small enough, and nothing in them asks another host."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

BUILT = Path(__file__).resolve().parents[3] / "app/page/built"
MAX_FIRST_LOAD_BYTES = 120 * 1024


def first_load() -> list[Path]:
    """What a browser loads before it shows anything: the page and what it names."""
    page = BUILT / "index.html"
    named = re.findall(r'(?:src|href)="page/([^"]+)"', page.read_text())
    return [page, *(BUILT / name for name in named)]


def test_the_first_load_is_small() -> None:
    files = first_load()
    assert {file.suffix for file in files} >= {".html", ".js", ".css", ".svg", ".webmanifest"}
    assert sum(len(gzip.compress(file.read_bytes())) for file in files) <= MAX_FIRST_LOAD_BYTES


def test_nothing_names_another_host() -> None:
    for file in first_load():
        hosts = set(re.findall(r"(?:https?:|wss?:)?//([\w.-]+\.\w+)", file.read_text()))
        assert hosts <= {"www.w3.org"}, file.name  # the name of SVG's namespace


def test_licences_of_all_that_is_inside_are_there() -> None:
    text = (BUILT / "licences.txt").read_text()
    for name in ("preact ", "@preact/signals ", "@preact/signals-core ", "uplot "):
        assert f"\n{name}" in text
    assert text.count("Permission is hereby granted") >= 4
