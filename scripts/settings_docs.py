"""Writes docs/settings.md from `app.settings`, or with --check says whether it is stale.

Knows the names, defaults and help of settings; what they do is told where they are used.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from app.settings import list_groups
from app.settings.group import PREFIX

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
_HEAD = """# Settings

Every setting is an environment variable; the most used ones are also flags of `vision serve`. This page is
written by `make docs` from `app/settings/`; `make lint` fails while the two differ."""


def page() -> str:
    """The whole page: one table for each group of settings, headed by the group's docstring."""
    lines = [_HEAD]
    for group in list_groups().values():
        lines += [
            f"\n## {inspect.getdoc(group)}".rstrip(".") + "\n",
            "| variable | default | what it does |",
            "| --- | --- | --- |",
        ]
        for name, field in group.model_fields.items():
            lines.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_help(field)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    match field.default:
        case None | "":
            return "empty"
        case bool():
            return f"`{str(field.default).lower()}`"
        case _:
            return f"`{field.default}`"


def _help(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    listed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"{field.description}{listed}".replace("|", "\\|")


def main() -> None:
    """Write the page, or compare it with --check."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        raise SystemExit("docs/settings.md is stale: run `make docs`")


if __name__ == "__main__":
    main()
