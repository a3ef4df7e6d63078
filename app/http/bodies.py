"""What the JSON bodies of several rooms have in common."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Item = TypeVar("Item")


def with_example(example: dict[str, Any]) -> ConfigDict:
    """The configuration of a model that the documentation page shows by an example."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class RequestBody(BaseModel):
    """The base of what clients send as JSON to this service's own calls: no field beyond those that it has, and flags
    and whole numbers by their own type. pydantic takes "yes" for true, which could delete what a client meant to keep,
    and true for 1. What stands within, as the parameters of a method, is read as in strategy files; bodies of other
    APIs (`app.compat`) are taken as their clients send them.
    """

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _keep_types(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = get_args(annotation) or (annotation,)
        if bool in kinds and not isinstance(value, bool | None):
            raise ValueError("it must be true or false")
        if int in kinds and isinstance(value, bool | str):
            raise ValueError("it must be a whole number")
        return value


class Page(BaseModel, Generic[Item]):
    """A page of a list that may have more."""

    data: list[Item]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class WholeList(BaseModel, Generic[Item]):
    """A list that always fits one page."""

    data: list[Item]
    next: str | None = Field(None, description="Always null: all of them fit one page.")
