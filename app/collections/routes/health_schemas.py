"""What an examination of a collection tells."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, Field

from app.http.bodies import with_example

_ID = "8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10"
_OTHER_ID = "0f3a9c1e-5b7d-4468-8c57-9f2e0d6f6a1c"
_IMAGE = f"/v1/collections/kitchen/examples/{_ID}/image"
_HEALTH: dict[str, Any] = {
    "collection": "kitchen",
    "examples": 120,
    "examined": 120,
    "suspects": [{"id": _ID, "label": "teapot", "told": "coffee_mug", "probability": 0.04, "image": _IMAGE}],
    "suspects_total": 1,
    "labels": [
        {"label": "teapot", "examples": 40, "recall": 0.95},
        {"label": "coffee_mug", "examples": 80, "recall": 0.9875},
    ],
    "labels_total": 2,
    "near_duplicates": [
        {
            "examples": [_ID, _OTHER_ID],
            "labels": ["teapot", "teapot"],
            "similarity": 0.993,
            "images": [_IMAGE, _IMAGE.replace(_ID, _OTHER_ID)],
        }
    ],
    "near_duplicates_total": 1,
    "overlapping_labels": [
        {
            "labels": ["coffee_mug", "teacup"],
            "share": 0.2,
            "similarity": 0.78,
            "sentence": "Of 20 examples of 'coffee_mug' and 'teacup' 4 are predicted as the other one when they are "
            "left out.",
        }
    ],
    "overlapping_labels_total": 1,
    "small_labels": [{"label": "egg_cup", "examples": 1}],
    "small_labels_total": 1,
    "notes": [],
}


class Suspect(BaseModel):
    """An example whose label the other examples contradict."""

    id: uuid.UUID
    label: str = Field(description="The label it has.")
    told: str = Field(description="The label that the other examples predict when it is left out.")
    probability: float = Field(description="That its own label is right.")
    image: str = Field(description="Where its thumbnail is.")


class LabelHealth(BaseModel):
    """How well one label is learned."""

    label: str
    examples: int
    recall: float | None = Field(
        description="Share of its examples that are predicted right when left out; null where none can be."
    )


class NearDuplicate(BaseModel):
    """Two examples that are nearly the same picture."""

    examples: tuple[uuid.UUID, uuid.UUID]
    labels: tuple[str, str] = Field(description="Of the one and of the other example.")
    similarity: float = Field(description="Cosine, above 0.98.")
    images: tuple[str, str] = Field(description="Where their thumbnails are.")


class OverlappingLabels(BaseModel):
    """Two labels that are hard to distinguish."""

    labels: tuple[str, str]
    share: float | None = Field(
        description="Share of their examples that are predicted as the other one when left out, from 0.15 on; null "
        "where too few were taught to leave any out, and the labels' mean vectors are compared instead."
    )
    similarity: float | None = Field(
        description="Mean cosine of an example of the one and one of the other; null where none was compared."
    )
    sentence: str


class SmallLabel(BaseModel):
    """A label of fewer than three examples."""

    label: str
    examples: int


class CollectionHealth(BaseModel):
    """What may be wrong with a collection's examples."""

    model_config = with_example(_HEALTH)

    collection: str
    examples: int
    examined: int = Field(
        description="Different examples that were left out in turn; of a large collection a sample."
    )
    suspects: list[Suspect] = Field(description="The most suspect first, at most `limit`.")
    suspects_total: int = Field(description="How many were found; an image taught twice counts once.")
    labels: list[LabelHealth] = Field(
        description="The least recall first, at most `limit`; then those without, the fewest examples first."
    )
    labels_total: int
    near_duplicates: list[NearDuplicate] = Field(
        description="At most `limit`, those of different labels first, then the most alike. Of a group of pictures that"
        " are all alike, as many pairs as join them: without one of each pair none is left."
    )
    near_duplicates_total: int
    overlapping_labels: list[OverlappingLabels] = Field(description="The worst first, at most `limit`.")
    overlapping_labels_total: int
    small_labels: list[SmallLabel] = Field(
        description="Labels of fewer than three examples, the fewest first, at most `limit`."
    )
    small_labels_total: int
    notes: list[str] = Field(description="What the figures leave out, in sentences.")
