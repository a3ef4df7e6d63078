"""Writes docs/errors.md from the rooms' `errors` modules, or with --check says whether it is stale."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from app.errors import VisionError, list_errors

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
_HEAD = """# Errors

A failure is answered with a problem document (RFC 9457, `application/problem+json`):

```json
{{
  "type": "urn:llamafarm-vision:problem:model_not_found",
  "title": "Not found",
  "status": 404,
  "detail": "There is no model 'lita' here: did you mean 'lite'?",
  "instance": "urn:llamafarm-vision:request:0c3f5a7e9b1d4f60",
  "error": {{"message": "...", "type": "...", "code": "model_not_found"}}
}}
```

`error.code` is stable and meant for programs, `detail` is a sentence for people and may change. `error.message` repeats
`detail` for clients that look there. `instance` holds the request id, under which the service's log tells more; it is
also the header `X-Request-ID`. Answers with status 503, 507 and some others carry `Retry-After` in seconds. A streamed
answer that fails midway ends with the event `error` and the same document.

There are {count} codes. This page is written by `make docs` from the `errors` modules of `app/`; `make lint` fails
while they differ."""


def page() -> str:
    """The whole page: one table for each room, the general failures first."""
    errors = list_errors()
    lines = [_HEAD.format(count=len(errors))]
    room = ""
    for kind in errors.values():
        if _room(kind) != room:
            room = _room(kind)
            lines += [
                f"\n## {'HTTP' if room == 'http' else room.capitalize()}\n",
                "| status | code | title | what happened | what to do |",
                "| --- | --- | --- | --- | --- |",
            ]
        lines.append(
            f"| {kind.status} | `{kind.code}` | {kind.title} | {_cell(inspect.getdoc(kind))} | {_cell(kind.advice)} |"
        )
    return "\n".join(lines) + "\n"


def _room(kind: type[VisionError]) -> str:
    """`storage` of `app.storage.errors`; the classes of `app.errors` are of any room."""
    parts = kind.__module__.split(".")
    return parts[1] if len(parts) > 2 else "general"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "\\<")


def main() -> None:
    """Write the page, or compare it with --check."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        raise SystemExit("docs/errors.md is stale: run `make docs`")


if __name__ == "__main__":
    main()
