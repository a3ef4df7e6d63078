"""Requests and replies of relabelling examples and renaming labels."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from app.http.bodies import RequestBody, with_example
from app.http.fields import FIRST_WRONG

_IDS = ["8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10", "0f3a9c1e-5b7d-4468-8c57-9f2e0d6f6a1c"]
_RENAMED: dict[str, Any] = {
    "label": "coffee_mug",
    "description": "ceramic white mug",
    "examples": 7,
    "removed": [],
    "collection_version": 13,
}
_BULK: dict[str, Any] = {
    "label": "coffee_mug",
    "changed": _IDS,
    "unchanged": [],
    "removed": [],
    "collection_version": 13,
}


class ExampleChange(RequestBody):
    """The label that an example gets."""

    model_config = with_example({"label": "coffee_mug"})

    label: str = Field(description="One of the collection's labels, or a new one.")


class LabelChange(RequestBody):
    """The name that a label gets."""

    model_config = with_example({"name": "coffee_mug"})

    name: str
    merge: bool = Field(
        False,
        description="Whether the examples go to the label of that name where there is one; of an image that both have"
        " one example stays.",
    )


class ExamplesChange(RequestBody):
    """A change of several examples: another label, or removal."""

    model_config = with_example({"ids": _IDS, "label": "coffee_mug"})

    ids: Annotated[list[uuid.UUID], FIRST_WRONG] = Field(
        min_length=1, description="Which examples; at most as many as a page has rows."
    )
    label: str | None = Field(None, description="The label that they get.")
    delete: bool = Field(False, description="Forget them instead.")
    merge: bool = Field(
        False,
        description="With `label`: whether of an image that has the label already the example given here is removed,"
        " instead of refusing them all.",
    )

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if (self.label is None) == (not self.delete):
            raise ValueError("give `label`, or `delete: true`")
        if self.merge and self.delete:
            raise ValueError("`merge` goes with `label`")
        return self


class ChangedExamples(BaseModel):
    """The result of changing several examples."""

    model_config = with_example(_BULK)

    label: str | None = Field(description="The label that they have; null where they were deleted.")
    changed: list[uuid.UUID] = Field(description="Those that had another label before.")
    unchanged: list[uuid.UUID] = Field(description="Those that had it already.")
    removed: list[uuid.UUID] = Field(description="Those that are gone.")
    collection_version: int


class RenamedLabel(BaseModel):
    """A label with its new name."""

    model_config = with_example(_RENAMED)

    label: str
    description: str
    examples: int
    removed: list[uuid.UUID] = Field(
        description="Examples that are gone, since the label they were merged into had their images already."
    )
    collection_version: int
