"""Pages of lists: how long one is, and a cursor that says where the next begins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query

from app.errors import InvalidInputError
from app.http.dependencies import AppSettings
from app.http.fields import WholeNumber
from app.http.names import is_storable
from app.settings import Settings

DEFAULT_PAGE = 100
_MAX_CURSOR_CHARS = 16_384

Row = TypeVar("Row")
Limit = Annotated[
    int | None, Query(ge=1, description=f"Most rows in the answer; {DEFAULT_PAGE} if empty."), WholeNumber
]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]
_BAD_CURSOR = "cursor: pass `next` of the page before as it is."


def page_size(limit: int | None, settings: Settings) -> int:
    """`limit`, or the default page; raises InvalidInputError for more than `max_page`."""
    if limit is not None and limit > settings.limits.max_page:
        raise InvalidInputError(f"limit: a page has at most {settings.limits.max_page} rows.")
    return limit or min(DEFAULT_PAGE, settings.limits.max_page)


def to_cursor(*place: str) -> str:
    """The cursor that stands for `place`, the last row of a page; opaque to clients."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None, parts: int) -> list[str] | None:
    """The `parts` texts that `to_cursor` was given; raises InvalidInputError for anything else."""
    if cursor is None:
        return None
    try:
        if len(cursor) > _MAX_CURSOR_CHARS:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not (
        isinstance(place, list)
        and len(place) == parts
        and all(isinstance(part, str) and is_storable(part) for part in place)
    ):
        raise InvalidInputError(_BAD_CURSOR)
    return place


@dataclass(frozen=True)
class PageRequest:
    """Which page of a list a client wants."""

    size: int
    cursor: str | None

    @property
    def limit(self) -> int:
        """How many rows to read: one more than are shown tells whether there is a next page."""
        return self.size + 1

    def after(self, *kinds: Callable[[str], Any]) -> tuple[Any, ...] | None:
        """The place of the row after which the page begins, a value of each kind; None for the first page.

        Raises InvalidInputError for a cursor that is none of this list.
        """
        place = from_cursor(self.cursor, len(kinds))
        try:
            return (
                None if place is None else tuple(kind(text) for kind, text in zip(kinds, place, strict=True))
            )
        except ValueError:
            raise InvalidInputError(_BAD_CURSOR) from None

    def cut(
        self, rows: Sequence[Row], place: Callable[[Row], tuple[object, ...]]
    ) -> tuple[Sequence[Row], str | None]:
        """The page's rows, of the `limit` that were read, and the cursor of the next page; `place` tells a row's."""
        page = rows[: self.size]
        return page, to_cursor(*map(str, place(page[-1]))) if len(rows) > self.size else None


async def _read_request(settings: AppSettings, limit: Limit = None, cursor: Cursor = None) -> PageRequest:
    return PageRequest(page_size(limit, settings), cursor)


PageQuery = Annotated[PageRequest, Depends(_read_request)]
