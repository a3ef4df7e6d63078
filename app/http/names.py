"""What a collection and a label may be called."""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Annotated

from pydantic import StringConstraints

from app.errors import InvalidInputError, NotFoundError

COLLECTION_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
COLLECTION_NAMES = (
    "A collection's name has lower-case letters, digits, '-' and '_', at most 63, and begins with a letter"
    " or a digit"
)
"""The pattern in words."""
_COLLECTION = re.compile(COLLECTION_PATTERN)


def is_collection_name(text: str) -> bool:
    """Whether a collection can be called that: a slug of up to 63 characters."""
    return _COLLECTION.fullmatch(text) is not None


COLLECTION_MODEL = "collection/"
"""What the name of a collection follows where a client knows nothing but models."""


def collection_of(model: str | None) -> str | None:
    """The collection that a model's name means, as in `collection/mugs`; None for a model."""
    return model[len(COLLECTION_MODEL) :] if model and model.startswith(COLLECTION_MODEL) else None


def parse_id(text: str, absent: type[NotFoundError], detail: str | None = None) -> uuid.UUID:
    """An id in an address; raises `absent`, with the sentence `detail` if given, for what cannot be one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise absent(detail) from None


def is_storable(text: str) -> bool:
    """Whether every store can keep it: no NUL, no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def label_name(text: str | None, most: int, field: str = "label") -> str:
    """A label in Unicode's composed form, spaces folded.

    Raises InvalidInputError when it is empty, longer than `most` characters or unprintable.
    """
    folded = _fold_case(text)
    if not folded:
        raise InvalidInputError(f"{field}: it is missing.")
    return _check_text(folded, most, field)


def description(text: str | None, most: int) -> str:
    """What a person wrote about a label, spaces folded; may be empty. Raises InvalidInputError as above."""
    return _check_text(_fold_case(text), most, "description")


def _fold_case(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFC", text or "").split())


def _check_text(text: str, most: int, field: str) -> str:
    if len(text) > most:
        raise InvalidInputError(f"{field}: it has at most {most} characters.")
    if not text.isprintable():
        raise InvalidInputError(f"{field}: it holds characters that cannot be printed.")
    return text


MODEL_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"


CollectionName = Annotated[str, StringConstraints(pattern=COLLECTION_PATTERN)]
