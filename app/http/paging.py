"""Pages of lists: how long one is, and a cursor that says where the next begins."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from datetime import datetime
from typing import Annotated

from fastapi import Query

from app.errors import InvalidInputError
from app.settings import Settings

USUAL_PAGE = 100
_LONGEST_CURSOR = 16_384

Limit = Annotated[int | None, Query(ge=1, description=f"Most rows in the answer; {USUAL_PAGE} if empty.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]


def page_size(limit: int | None, settings: Settings) -> int:
    """`limit`, or the usual page; raises InvalidInputError for more than `max_page`."""
    if limit is not None and limit > settings.limits.max_page:
        raise InvalidInputError(f"limit: a page has at most {settings.limits.max_page} rows.")
    return limit or min(USUAL_PAGE, settings.limits.max_page)


def to_cursor(*place: str) -> str:
    """The cursor that stands for `place`, the last row of a page; opaque to clients."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None, parts: int) -> list[str] | None:
    """The `parts` texts that `to_cursor` was given; raises InvalidInputError for anything else."""
    if cursor is None:
        return None
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not (isinstance(place, list) and len(place) == parts and all(map(_is_text, place))):
        raise bad_cursor()
    return place


def time_cursor(cursor: str | None) -> tuple[datetime, uuid.UUID] | None:
    """The time and id of the row after which the next page begins, in a list from the newest on."""
    place = from_cursor(cursor, 2)
    if place is None:
        return None
    try:
        return datetime.fromisoformat(place[0]), uuid.UUID(place[1])
    except ValueError:
        raise bad_cursor() from None


def bad_cursor() -> InvalidInputError:
    """What a client is told of a cursor that is none."""
    return InvalidInputError("cursor: pass `next` of the page before as it is.")


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
