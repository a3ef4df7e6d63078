"""What the JSON bodies of several rooms have in common."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


def with_example(example: dict[str, Any], *, extra: Literal["ignore", "forbid"] = "ignore") -> ConfigDict:
    """The configuration of a model that the documentation page shows by an example."""
    return ConfigDict(json_schema_extra={"examples": [example]}, extra=extra)


class Page(BaseModel, Generic[Item]):
    """A page of a list that may have more."""

    data: list[Item]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class WholeList(BaseModel, Generic[Item]):
    """A list that always fits one page."""

    data: list[Item]
    next: str | None = Field(None, description="Always null: all of them fit one page.")
