"""CONTRIBUTING.md's checklists, followed to the letter in a copy of the project, lint and pass their own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checklists import PAGE, ROOT, copy_project, follow, read_checklists, write_command

pytestmark = pytest.mark.slow
SPAN = re.compile(r"`((?:app|client|docs|migrations|scripts|strategies|tests|workers)/[\w./]*)`")
ALSO = (
    "tests/integration/storage/test_migrations.py::test_the_tables_are_those_that_the_code_declares",
    "tests/unit/methods/test_methods.py::test_a_method_has_code_for_the_bases_that_it_trains_and_for_no_others[pull]",
    "tests/unit/test_house.py::test_every_room_with_inner_files_closes_them",
    "tests/unit/strategies/test_strategies.py::test_what_ships_is_whole",
)
"""Tests that the checklists name as theirs too."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all four additions in it."""
    folder = tmp_path_factory.mktemp("followed")
    copy_project(folder)
    for blocks in read_checklists().values():
        follow(blocks, folder)
    return folder


def run_in(copy: Path, *words: str, timeout: float = 900) -> None:
    """Run a command in the copy; its output is the failure where it fails."""
    extra = {"PYTHONPATH": f"{copy}:{copy / 'client/src'}", "TEST_VISION": str(write_command(copy))}
    done = subprocess.run(
        words,
        cwd=copy,
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_page_names_is_there() -> None:
    """Paths in code spans exist, but for those that a checklist makes."""
    made = {block.path for blocks in read_checklists().values() for block in blocks}
    assert len(read_checklists()) == 4
    spans = set(
        re.findall(
            r"`((?:app|client|docs|migrations|scripts|strategies|tests|workers)/[\w./]*)`", PAGE.read_text()
        )
    )
    assert len(spans) > 20
    assert [path for path in sorted(spans - made) if not (ROOT / path).exists()] == []


def test_what_the_checklists_write_keeps_the_rules(copy: Path) -> None:
    files = [
        block.path for blocks in read_checklists().values() for block in blocks if block.kind == "python"
    ]
    written = [file for file in files if (copy / file).exists()]  # a migration's number may have been taken
    assert len(written) >= len(files) - 1
    for step in (("check",), ("format", "--check")):
        run_in(copy, str(Path(sys.executable).parent / "ruff"), *step, *written)
    run_in(
        copy,
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    )


def test_the_tests_of_the_checklists_pass(copy: Path) -> None:
    blocks = [block for found in read_checklists().values() for block in found]
    tests = [block.path for block in blocks if block.path.startswith("tests/")]
    assert len(tests) == 3  # a strategy is read by those that there are
    run_in(copy, sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *tests, *ALSO)
