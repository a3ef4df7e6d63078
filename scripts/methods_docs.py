"""Writes what the docs say of the training methods from `app.methods`, or with --check says whether it is stale.

That is docs/methods.md, and the table of methods in docs/training.md between its two marks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.methods import METHODS, Method
from app.methods.params import Params

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, OVERVIEW = DOCS / "methods.md", DOCS / "training.md"
_BEGIN, _END = "<!-- methods: written by `make docs` -->\n", "<!-- end of methods -->\n"
_HEAD = """# Methods and their parameters

What a job's `params` may hold, by method; [training](training.md) says when to use which. A job with a parameter that
is not listed here, or outside its range, is refused with its name. This page is written by `make docs` from
`app/methods`; `make lint` fails while the two differ."""
_COLUMNS = ["| parameter | default | range | what it does |", "| --- | --- | --- | --- |"]
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def page() -> str:
    """The whole of docs/methods.md."""
    shared = set(Params.model_fields)
    lines = [_HEAD, "\n## Every method\n", *_COLUMNS, *_rows(Params)]
    for name, method in METHODS.items():
        what = " ".join((method.params.__doc__ or "").split())
        own = list(_rows(method.params, leave_out=shared))
        lines += [f"\n## `{name}`\n", what, f"\nTrains {_learners(method)}.", ""]
        lines += [*_COLUMNS, *own] if own else ["It takes no parameters of its own."]
    return "\n".join(lines) + "\n"


def overview(text: str) -> str:
    """The text of docs/training.md with its table of methods as the code says it; raises ValueError without marks."""
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    lines = [
        "| method | what is trained | meant for |",
        "| --- | --- | --- |",
        "| none | nothing | the first choice: ready in seconds, changes with every example |",
        *(f"| `{name}` | {method.trains} | {method.meant_for} |" for name, method in METHODS.items()),
    ]
    return before + _BEGIN + "\n".join(lines) + "\n" + _END + after


def _learners(method: Method) -> str:
    words = {"encoder": "encoders", "vlm": "vision-language models"}
    return " and ".join(
        f"{words[kind]} ({', '.join(sorted(tasks))})" for kind, tasks in sorted(method.learns.items())
    )


def _rows(model: type[BaseModel], leave_out: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """One row a parameter; those of an object within stand below it, by their dotted names."""
    schema = model.model_json_schema()
    yield from _rows_of(schema, schema.get("$defs", {}), "", leave_out)


def _rows_of(
    schema: dict[str, Any], defs: dict[str, Any], prefix: str, leave_out: frozenset[str] | set[str]
) -> Iterator[str]:
    for name, field in schema["properties"].items():
        if name in leave_out:
            continue
        choices = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
        inner = next(
            (defs[option["$ref"].rpartition("/")[2]] for option in choices if "$ref" in option), None
        )
        allowed = "an object" if inner else " or ".join(filter(None, map(_list_allowed, choices)))
        help_ = " ".join(field.get("description", "").split()).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_default(field.get('default'))} | {allowed} | {help_} |"
        if inner is not None:
            yield from _rows_of(inner, defs, f"{prefix}{name}.", frozenset())


def _list_allowed(option: dict[str, Any]) -> str:
    """Which values an alternative of a field's schema takes."""
    if "const" in option:
        return f"`{option['const']}`"
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    kind = option["type"]
    if kind == "array":
        inner = _list_allowed(option["items"])
        return f"a list of {inner}" if "enum" in option["items"] else "a list"
    bounds = ", ".join(f"{word} {option[bound]:,}" for bound, word in _BOUNDS.items() if bound in option)
    if kind == "string":
        most = option.get("maxLength")
        return "text" if most is None else f"text of at most {most:,} characters"
    words = {"integer": "a whole number", "number": "a number", "boolean": "`true`, `false`"}[kind]
    return f"{words}, {bounds}" if bounds else words


def _default(value: Any) -> str:
    if value is None:
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main() -> None:
    """Write both, or compare them with --check."""
    text = OVERVIEW.read_text()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
        OVERVIEW.write_text(overview(text))
    elif not PAGE.exists() or PAGE.read_text() != page() or overview(text) != text:
        raise SystemExit("docs/methods.md or the table of docs/training.md is stale: run `make docs`")


if __name__ == "__main__":
    main()
