"""What is wrong with a field, in words for people: one sentence for each kind of complaint that pydantic has.

Never repeats what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.http.names import COLLECTION_PATTERN, MODEL_NAME

_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
    "literal_error": "it must be {expected}",
    "enum": "it must be {expected}",
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be more than {gt}",
    "less_than_equal": "it must be at most {le}",
    "less_than": "it must be less than {lt}",
    "string_type": "it must be text",
    "string_too_short": "its length must be at least {min_length}",
    "string_too_long": "its length must be at most {max_length}",
    "string_pattern_mismatch": "it must match {pattern}",
    "too_short": "it must have {min_length} or more entries",
    "too_long": "it must have at most {max_length} entries",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "list_type": "it must be a list",
    "tuple_type": "it must be a list",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "uuid_parsing": "it must be an id, such as 3f2a6a0e-7a51-4a8c-9d0e-0c6f5a4c2b1d",
    "uuid_type": "it must be an id, such as 3f2a6a0e-7a51-4a8c-9d0e-0c6f5a4c2b1d",
}


_BEGINNING = "begin with a letter or a digit, and have at most 63 characters"
_PATTERNS = {
    COLLECTION_PATTERN: f"it must consist of lower-case letters, digits, '-' and '_', {_BEGINNING}",
    f"^{MODEL_NAME}$": f"it must consist of lower-case letters, digits, '.', '-' and '_', {_BEGINNING}",
}
"""What the patterns of names mean, in words."""


def complaint(error: Mapping[str, Any]) -> str:
    """What one of a ValidationError's `errors()` says, as words that follow a colon: lower case, no full stop."""
    words = _WORDS.get(str(error["type"]))
    if words is None:
        # a validator of our own states a sentence in its ValueError
        message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
        return message[:1].lower() + message[1:] if message[1:2].islower() else message
    pattern = (error.get("ctx") or {}).get("pattern")
    if pattern in _PATTERNS:
        return _PATTERNS[pattern]
    return words.format_map({name: _shorten_value(value) for name, value in (error.get("ctx") or {}).items()})


def complaints(found: Sequence[Mapping[str, Any]], prefix: str = "") -> str:
    """Every field (after `prefix`) and what is wrong with it, one after another."""
    named = [(f"{prefix}{join_location(error['loc'])}", complaint(error)) for error in found]
    return "; ".join(f"{name}: {words}" if name else words for name, words in named)


def join_location(location: Sequence[int | str]) -> str:
    """A field's name, such as `base_model.type`. Parts in brackets are tags that tell a union's members apart."""
    return ".".join(str(part) for part in location if not str(part).startswith("("))


def _shorten_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
