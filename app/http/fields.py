"""The text fields of a form as one pydantic model: what they may hold, and their OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from app.errors import InvalidInputError
from app.http.multipart import shorten_name
from app.http.names import description, label_name
from app.http.written_lists import read_lists, split_at_commas
from app.http.wrong_fields import complaints
from app.settings import Settings

_NUMBERS = {
    "integer": (re.compile(r"[+-]?[0-9]+(\.0+)?"), "it must be a whole number"),
    "number": (re.compile(r"[^_]*"), "it must be a number"),
}
"""By the type of a field, what a text must match before pydantic reads it: that takes `1_0` for 10."""

Sized = TypeVar("Sized", str, int, list[str])

FIRST_WRONG: Any = Field(fail_fast=True)
"""Of a list in a JSON body: the first wrong entry is enough. An error for each costs kilobytes, and a small body holds
hundreds of thousands.
"""


class Form(BaseModel):
    """The base of every form. Validation is given the settings as context, for bounds that operators choose."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnyForm = TypeVar("AnyForm", bound=Form)


def at_most(limit: Callable[[Settings], int], unit: str = "") -> AfterValidator:
    """A bound that the settings name: of a number its value, of a text its characters, of a list its entries."""

    def check(value: Sized, info: ValidationInfo) -> Sized:
        most = limit(settings_of(info))
        if (value if isinstance(value, int) else len(value)) > most:
            raise ValueError(f"it must be at most {most}{unit and ' ' + unit}")
        return value

    return AfterValidator(check)


def settings_of(info: ValidationInfo) -> Settings:
    """The settings that the form is validated by."""
    if not isinstance(info.context, Settings):
        raise TypeError("a form is validated with the settings as context")
    return info.context


def _check_label(value: str, info: ValidationInfo) -> str:
    return label_name(value, settings_of(info).limits.max_text_chars, info.field_name or "label")


def _check_description(value: str, info: ValidationInfo) -> str:
    return description(value, settings_of(info).limits.max_text_chars)


def check_number(text: str, kind: str) -> str:
    """A text that stands for an "integer" or a "number" (`1e2` is one, and no whole one); raises ValueError."""
    pattern, complaint = _NUMBERS[kind]
    if not pattern.fullmatch(text):
        raise ValueError(complaint)
    return text


def _check_whole(value: object) -> object:
    return check_number(value.strip(), "integer") if isinstance(value, str) else value


def _check_flag(value: str | bool) -> str | bool:
    if isinstance(value, str) and value.lower() not in ("true", "false", "1", "0"):
        raise ValueError("it must be true or false")
    return value


WholeNumber = BeforeValidator(_check_whole)
"""For query parameters; a form's fields are checked by their type."""
Flag = Annotated[bool, BeforeValidator(_check_flag)]
CommaSeparated = Annotated[list[str], BeforeValidator(split_at_commas)]
"""A field that comes several times, once with commas in it, or as a JSON list, whose items keep their commas."""
LabelText = Annotated[str, AfterValidator(_check_label)]
DescriptionText = Annotated[str, AfterValidator(_check_description)]


@cache
def describe_fields(form: type[Form]) -> dict[str, dict[str, Any]]:
    """Each field as a JSON schema. A form cannot carry null: fields that may be left out have their own type alone."""
    found: dict[str, dict[str, Any]] = {}
    for name, about in form.model_json_schema().get("properties", {}).items():
        schema = {key: value for key, value in about.items() if key != "title"}
        for choice in schema.pop("anyOf", []):
            if choice.get("type") != "null":
                schema = {**choice, **schema}
        if schema.get("default") in (None, "", []):  # says no more than that it may be left out
            schema.pop("default", None)
        found[name] = schema
    return found


def list_required_fields(form: type[Form]) -> tuple[str, ...]:
    """The names of the fields that must come."""
    return tuple(name for name, field in form.model_fields.items() if field.is_required())


def parse_fields(
    form: type[AnyForm], texts: Mapping[str, Sequence[str]], settings: Settings, *, file: str = "image"
) -> AnyForm:
    """The form that `texts` fill in, by name and in order; an empty text counts as left out. `file` is what else the
    body may hold.

    Raises InvalidInputError that names every unknown, repeated, missing or wrong field.
    """
    schemas = describe_fields(form)
    for name in texts:
        if name not in schemas:
            known = ", ".join((file, *schemas))
            raise InvalidInputError(f"{shorten_name(name)}: there is no such field here; known are {known}.")
    given: dict[str, Any] = {}
    for name, values in texts.items():
        kind = schemas[name].get("type", "")
        if kind == "array":
            given[name] = read_lists(values)
        elif len(values) > 1:
            raise InvalidInputError(f"{name}: give it once.")
        elif values and (text := values[0].strip()):
            try:
                given[name] = check_number(text, kind) if kind in _NUMBERS else text
            except ValueError as error:
                raise InvalidInputError(f"{name}: {error}.") from None
    try:
        return form.model_validate(given, context=settings)
    except ValidationError as error:
        raise InvalidInputError(f"{complaints(error.errors())}.") from None
