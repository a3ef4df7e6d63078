"""The table of model families: what it knows without loading anything, and that nothing else knows families."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.families import FAMILIES, Families
from app.families.encoders import resolve
from app.inference.errors import ModelTaskError
from app.inference.family import Family
from app.inference.sources import EncoderConfig

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime")
ASKED = """
import sys
import app.families, app.heads, app.methods, app.methods.params, app.methods.tasks
from app.families import FAMILIES
for kind in ("encoder", "vlm"):
    assert FAMILIES.model_types(kind) and FAMILIES.architectures(kind)
assert FAMILIES.resolve("encoder", "clip-tiny").family == "clip"
assert FAMILIES.resolve("encoder", "google/siglip2-base-patch16-224").family == "siglip"
assert FAMILIES.resolve("vlm", "llava-shapes").family == "llava"
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


class Other(Family):
    name = "other"


def test_families_are_asked_without_loading_a_deep_learning_library() -> None:
    words = [sys.executable, "-c", ASKED, *HEAVY]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []


def test_a_family_that_names_no_architecture_takes_in_no_whole_model() -> None:
    other = Other()
    other.model_types = frozenset({"other"})
    assert other.accepted_architecture({"model_type": "other"}) is None


def test_every_folder_is_a_family() -> None:
    folders = {path.parent.name for path in (ROOT / "app" / "families").glob("*/__init__.py")}
    assert set(FAMILIES.all()) >= folders
    assert all(FAMILIES.get(name).name == name for name in folders)


def test_a_family_is_registered_once_under_its_own_name() -> None:
    table = Families()
    table.register("other", Other())
    assert table.get("other").kind == "encoder"
    with pytest.raises(ValueError, match="already"):
        table.register("other", Other())
    with pytest.raises(ValueError, match="'third' is not a Family"):
        table.register("third", Other())
    assert FAMILIES.find("other") is None


def test_what_a_family_cannot_do_is_refused_in_words(tmp_path: Path) -> None:
    config = EncoderConfig("cpu", "auto", True, 0.99, 0, tmp_path, allow_downloads=False)
    for ask in (Other().image_tower, Other().adaptable):
        with pytest.raises(ModelTaskError, match="family 'other'"):
            ask(resolve("lite"), config)


def test_a_family_of_another_distribution_is_found_and_a_broken_one_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="app")  # whatever a service in this process has set
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "fixtures" / "colour_family"))
    table = Families()
    assert table.get("colours").built_in == "mean-colour"
    assert table.find("broken") is None
    assert "'broken' of colour_family:NOTHING cannot be used" in caplog.text


def test_no_other_file_branches_on_the_name_of_a_family() -> None:
    names = set(FAMILIES.all())
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("app", "workers")
        for path in sorted((ROOT / room).rglob("*.py"))
        if not path.is_relative_to(ROOT / "app" / "families")
        for line in decided_by(ast.parse(path.read_text(encoding="utf-8")), names)
    ]
    assert found == []


def decided_by(tree: ast.AST, names: set[str]) -> Iterator[int]:
    """Lines where one of the names is compared with, or is a key, or a family's own module is imported."""
    for node in ast.walk(tree):
        path = (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
        if path[:2] == ["app", "families"] and names & set(path[2:3]):
            yield node.lineno
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            inside = ast.walk(part) if isinstance(part, ast.Set | ast.Tuple | ast.List) else [part]
            for constant in inside:
                if isinstance(constant, ast.Constant) and constant.value in names:
                    yield constant.lineno
