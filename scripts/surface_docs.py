"""Writes docs/surface.md: every command and every call with its own sentence. With --check says whether it is stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer.core
import typer.main

from app.cli import app as commands
from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "surface.md"
_HEAD = """# Commands and calls

Every command and every call, each with its own first sentence. This page is written by `make docs` from the code;
`make lint` fails while the two differ. `vision COMMAND --help` has each command's options; `/docs` on a running service
has each call's fields, examples and errors, `/openapi.json` the same for programs.

Commands take `--server`, `--api-key` and `--data-dir` where they speak to a service, and `--json` where they show
something. Exit codes: 0 done, 1 the service (or a file of several) refused, 2 wrong usage, 3 no service, 130 stopped by
Ctrl-C.
"""
_METHODS = ("get", "post", "patch", "put", "delete")


def page() -> str:
    """The whole page."""
    lines = [_HEAD, "## Commands\n", "| command | what it does |", "| --- | --- |"]
    lines += [
        f"| `{name}` | {text} |" for name, text in _commands(typer.main.get_command(commands), "vision")
    ]
    lines += ["\n## Calls\n", "| call | what it does |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in _calls()]
    return "\n".join(lines) + "\n"


def _commands(command: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(command, typer.core.TyperGroup):
        for inner in command.commands.values():
            yield from _commands(inner, f"{name} {inner.name}")
    elif isinstance(command, typer.core.TyperCommand):
        words = [
            param.metavar or str(param.name).upper()
            for param in command.params
            if param.param_type_name == "argument"
        ]
        yield " ".join([name, *words]), _first_line(command.help or "")


def _calls() -> Iterator[tuple[str, str]]:
    for path, methods in create_app(Settings(), Addresses("", "")).openapi()["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield f"{method.upper()} {path}", _first_line(methods[method].get("description", ""))


def _first_line(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def main() -> None:
    """Write the page, or compare it with --check."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        raise SystemExit("docs/surface.md is stale: run `make docs`")


if __name__ == "__main__":
    main()
