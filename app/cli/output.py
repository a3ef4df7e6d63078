"""How the command line speaks: tables and JSON on standard output, everything else on standard error.

Knows nothing of HTTP or of what the rows mean.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

OK, REFUSED, USAGE, NO_SERVICE = 0, 1, 2, 3
"""Exit codes: done; the service (or a file of several) said no; wrong usage; no service could be reached."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print exactly one JSON document, for programs to read."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Iterable[str]], *, empty: str) -> None:
    """Print rows under column heads, or say the sentence `empty`; a pipe gets unwrapped lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    cells = [list(row) for row in rows]
    # a column without a single entry, such as the errors of a good run, only takes room
    used = [index for index in range(len(columns)) if not cells or any(row[index] for row in cells)]
    for index in used:
        table.add_column(columns[index], overflow="fold")
    for row in cells:
        table.add_row(*(Text(row[index]) for index in used))
    if table.row_count:
        # a width given to print() is cut to the console's own, which is 80 where there is no terminal
        console = out if out.is_terminal else Console(highlight=False, width=10_000)
        console.print(table)
    else:
        say(empty)


def say(sentence: str) -> None:
    """Print one line for a person, on standard error so that piped output stays clean."""
    err.print(Text(sentence), soft_wrap=True)


def fail(sentence: str, code: int) -> NoReturn:
    """Print one line on standard error and end the command with `code`."""
    err.print(Text(f"vision: {sentence}", style="red"), soft_wrap=True)
    raise typer.Exit(code)
