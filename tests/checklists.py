"""The checklists of CONTRIBUTING.md as files: what a contributor writes who follows them to the letter."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.schema import list_revisions

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("app", "client", "migrations", "scripts", "strategies", "tests", "workers")
_SECTION = re.compile(r"^### (.+)$", re.MULTILINE)
_PART = re.compile(
    r"`(?P<path>[\w./]+\.\w+)`:$|^ *```(?P<kind>\w+)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(r"^migrations/versions/(\d{4})_")


@dataclass(frozen=True)
class Block:
    """A whole file, or lines that change one (`kind` is `diff`)."""

    path: str
    kind: str
    text: str


def read_checklists() -> dict[str, list[Block]]:
    """The blocks of each checklist by its heading, in the order of the page; a block belongs to the path before it."""
    heads = list(_SECTION.finditer(text := PAGE.read_text()))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return {head[1]: _read_blocks(text[head.end() : end]) for head, end in zip(heads, ends, strict=True)}


def _read_blocks(text: str) -> list[Block]:
    blocks, path = [], ""
    for part in _PART.finditer(text):
        if part["path"]:
            path = part["path"]
        else:
            blocks.append(Block(path, part["kind"], dedent(part["text"])))
    return blocks


def copy_project(folder: Path) -> None:
    """The project's code and configuration, to be changed."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", folder)


def write_command(folder: Path) -> Path:
    """The `vision` of a copy of the project; what it starts finds the copy by PYTHONPATH, which its caller sets."""
    command = folder / "vision"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(folder)!r})\n"
        "from app.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    return command


def follow(blocks: Sequence[Block], folder: Path) -> None:
    """Write and change the files in a copy of the project; a migration gets the number after the newest."""
    newest = list_revisions()[-1]
    for block in blocks:
        file = folder / block.path
        text = block.text
        if block.kind == "diff":
            text = _apply(text, file.read_text(), block.path)
        elif _NUMBER.match(block.path):
            file = file.with_name(re.sub(r"^\d+", f"{int(newest) + 1:04}", file.name))
            text = _renumber(text, newest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _renumber(text: str, newest: str) -> str:
    text = re.sub(r'^revision = "\d+"', f'revision = "{int(newest) + 1:04}"', text, flags=re.MULTILINE)
    return re.sub(r'^down_revision = "\d+"', f'down_revision = "{newest}"', text, flags=re.MULTILINE)


def _apply(diff: str, text: str, path: str) -> str:
    """`text` with the diff's lines in it; what it keeps or removes must stand there once."""
    lines = diff.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    assert text.count(before) == 1, (
        f"CONTRIBUTING.md changes lines of {path} that are not there once:\n{before}"
    )
    return text.replace(before, after)
