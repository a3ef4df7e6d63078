"""How the command line speaks: tables and JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from app.cli import tables

OK, REFUSED, USAGE, NO_SERVICE, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: done; the service (or a file of several) refused; wrong usage; no service could be reached; Ctrl-C."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print exactly one JSON document, for programs to read."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Iterable[str]], *, empty: str) -> None:
    """Print rows under column heads, or say the sentence `empty` (nothing where it is ''); a pipe gets whole lines."""
    cells = [list(row) for row in rows]
    if not cells:
        if empty:
            say(empty)
        return
    # a column without a single entry, such as the errors of a good run, only takes room
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    head = [[columns[index] for index in used]] if any(columns) else []
    rows_of_lines = tables.lines(
        [*head, *([row[index] for index in used] for row in cells)], out.width if out.is_terminal else None
    )
    for number, lines in enumerate(rows_of_lines):
        bold = out.is_terminal and number < len(head)
        sys.stdout.writelines(f"{typer.style(line, bold=True) if bold else line}\n" for line in lines)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and what stands for each, a line each; those without a text are left out."""
    print_table(["", ""], [fact for fact in facts if fact[1]], empty="")


def format_time(moment: str | None) -> str:
    """A moment of the service to the second, as a person reads it; empty without."""
    return (moment or "")[:19].replace("T", " ")


def say(sentence: str) -> None:
    """Print one line for a person, on standard error so that piped output stays clean."""
    err.print(Text(sentence), soft_wrap=True)


def fail(sentence: str, code: int) -> NoReturn:
    """Print one line on standard error and end the command with `code`."""
    err.print(Text(f"vision: {sentence}", style="red"), soft_wrap=True)
    raise typer.Exit(code)


def stop(sentence: str) -> NoReturn:
    """End a command that Ctrl-C interrupted, with one line that says what was done so far."""
    say(f"Stopped: {sentence}")
    raise typer.Exit(INTERRUPTED)
