"""The rooms keep to their plan: layers without a cycle, closed inner files, services by signature."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import pytest

import app
from app.bootstrap import Services

ROOT = Path(__file__).resolve().parents[2]
INNER = ("repository", "routes", "schemas", "tables")
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_LOOSE_MODULES = 6
LONG: set[str] = set()
"""Longer ones that are being taken apart: an entry that is short by now fails the test too."""

VIOLATIONS = {
    "a lower room imports a higher one": (
        "app/jobs/spec.py",
        "import app.training.service",
        "rooms form layers",
    ),
    "inside a function": (
        "app/models/fetching.py",
        "def _():\n    from app.collections import service",
        "rooms form layers",
    ),
    "under TYPE_CHECKING": (
        "app/access/keys.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app.bootstrap import Services",
        "rooms form layers",
    ),
    "siblings": ("app/media/modes.py", "import app.storage.blobs", "rooms form layers"),
    "a room that no contract names": ("app/attic/__init__.py", "", "rooms form layers"),
    "another room's routes": ("app/training/service.py", "import app.jobs.routes", "inner files of jobs"),
    "another room's schemas": (
        "app/training/service.py",
        "import app.models.schemas",
        "inner files of models",
    ),
    "another room's repository": (
        "app/answers/teaching.py",
        "from app.collections import repository as rows",
        "inner files of collections",
    ),
    "another room's tables": ("app/models/service.py", "import app.jobs.tables", "inner files of jobs"),
    "inference knows the database": (
        "app/inference/memory.py",
        "import sqlalchemy",
        "inference and families know neither HTTP nor the database",
    ),
    "a family knows HTTP": (
        "app/families/chat.py",
        "import fastapi",
        "inference and families know neither HTTP nor the database",
    ),
    "the service imports a worker": (
        "app/bootstrap.py",
        "import workers.shared.run",
        "the service never imports the workers",
    ),
    "a service knows other clients' words": (
        "app/bootstrap.py",
        "import app.compat.reading",
        "nothing but the application knows other clients' words",
    ),
    "the command line looks behind the API": (
        "app/cli/jobs.py",
        "import app.jobs.service",
        "the command line is a client of the HTTP API",
    ),
    "what workers share imports a method": (
        "workers/shared/examples.py",
        "import workers.methods.head.method",
        "the workers' rooms form layers",
    ),
    "the client needs the service": (
        "client/src/llamafarm_vision/images.py",
        "import app.media.images",
        "the client needs httpx, pydantic and Pillow alone",
    ),
    "the client's core knows its verbs": (
        "client/src/llamafarm_vision/steps.py",
        "import llamafarm_vision.flows",
        "the client's modules form layers",
    ),
    "a room of the service uses the client": (
        "app/jobs/spec.py",
        "import llamafarm_vision.errors",
        "of the service only the command line is a user of the client",
    ),
    "two files of a room import each other": (
        "app/media/structure.py",
        "import app.media.images",
        "no cycle inside a room",
    ),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree's code and contracts, to be broken."""
    root = tmp_path_factory.mktemp("house")
    for package in ("app", "workers"):
        shutil.copytree(
            ROOT / package,
            root / package,
            ignore=shutil.ignore_patterns("__pycache__", "checkpoints", "shipped"),
        )
    shutil.copytree(ROOT / "client/src", root / "client/src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def lint(root: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "client/src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_copy_keeps_every_contract(copied: Path) -> None:
    code, said = lint(copied)
    assert code == 0, said


@pytest.fixture(scope="module")
def broken(copied: Path) -> str:
    """What is said where every violation is planted at once."""
    for place, line, _ in VIOLATIONS.values():
        file = copied / place
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as end:
            end.write(f"\n{line}\n")
    code, said = lint(copied)
    assert code == 1, said
    return said


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_is_found(broken: str, name: str) -> None:
    place, _, contract = VIOLATIONS[name]
    module = place.removeprefix("client/src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    sections = re.findall(rf"^{re.escape(contract)}.*\n-+\n((?:.*\n)*?)(?=.*\n-+$|\Z)", broken, re.M)
    named = (module, f"- .{module.rpartition('.')[2]} ->")  # within a room, cycles are told by the last word
    assert any(name in section for section in sections for name in named), broken


def rooms_of(package: str) -> dict[str, set[str]]:
    """Room -> rooms that it imports, of one package."""
    graph = grimp.build_graph("app", "workers", cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        owner, _, rest = module.partition(".")
        if owner != package or not rest:
            continue
        room = rest.split(".")[0]
        found.setdefault(room, set())
        for imported in graph.find_modules_directly_imported_by(module):
            other = imported.split(".")
            if other[0] == package and len(other) > 1 and other[1] != room:
                found[room].add(other[1])
    return found


@pytest.mark.parametrize("package", ["app", "workers"])
def test_the_graph_of_rooms_has_no_cycle(package: str) -> None:
    graph = rooms_of(package)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    print(f"\n{package}, from the top:")  # noqa: T201 - shown by `pytest -s`
    for room in reversed(order):
        print(f"  {room}: {', '.join(sorted(graph[room])) or '-'}")  # noqa: T201
    assert set(order) == set(graph)


def test_every_room_with_inner_files_closes_them() -> None:
    """A room that nobody protected is found: its contract lists exactly what it has."""
    contracts: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
    closed = {
        name
        for contract in contracts
        if contract["type"] == "protected"
        for name in contract["protected_modules"]
    }
    rooms = [room.name for room in pkgutil.iter_modules(app.__path__) if room.ispkg and room.name != "cli"]
    inner = {
        f"app.{room}.{file.name}"
        for room in rooms
        for file in pkgutil.iter_modules([str(ROOT / "app" / room)])
        if file.name.rpartition("_")[2] in INNER
    }
    assert {name for name in closed if name.startswith("app.")} == inner


def test_routes_name_services_that_exist() -> None:
    """`opened("jobs", Jobs)` finds the service of that name, and it is a `Jobs`."""
    kinds = typing.get_type_hints(Services)
    named = 0
    for room in pkgutil.iter_modules(app.__path__):
        if not room.ispkg or not (ROOT / "app" / room.name / "dependencies.py").exists():
            continue
        for value in vars(importlib.import_module(f"app.{room.name}.dependencies")).values():
            for mark in getattr(value, "__metadata__", ()):
                provide = getattr(mark, "dependency", None)
                if getattr(provide, "__name__", "").startswith("provide_"):
                    name = provide.__name__.removeprefix("provide_")
                    assert kinds[name] == typing.get_args(value)[0], name
                    named += 1
    assert named > 15


def test_files_and_functions_fit_a_few_screens() -> None:
    found = set()
    for file in [file for code in ("app", "client/src", "workers") for file in ROOT.glob(f"{code}/**/*.py")]:
        place = file.relative_to(ROOT).as_posix()
        text = file.read_text()
        if len(text.splitlines()) > MAX_FILE_LINES:
            found.add(place)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.add(f"{place}:{node.name}")
    assert found == LONG


@pytest.mark.parametrize("package", ["app", "workers"])
def test_few_modules_lie_outside_every_room(package: str) -> None:
    loose = sorted(file.name for file in (ROOT / package).glob("*.py"))
    assert len(loose) <= MAX_LOOSE_MODULES, loose
