"""The body of requests that change a collection."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from app.heads import LabelShares
from app.http.bodies import RequestBody, with_example

DEFAULT_REVIEW_PICTURES = 500
DEFAULT_REVIEW_DAYS = 30
LABEL_SHARES_HELP = (
    "How often each label is expected: `equal`, all alike, or `examples`, as often as it has examples."
)


class ReviewSpan(RequestBody):
    """How much a collection keeps for review."""

    keep: int = Field(DEFAULT_REVIEW_PICTURES, ge=1, description="Most pictures; the surest leave first.")
    days: int = Field(DEFAULT_REVIEW_DAYS, ge=1, description="None is kept longer.")


class CollectionChange(RequestBody):
    """A change of a collection: one of the three."""

    model_config = with_example({"encoder": "clip-tiny"})

    encoder: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Bind it to this one of `/models`; every example is embedded again first."
    )
    label_shares: LabelShares | None = Field(None, description=LABEL_SHARES_HELP)
    review: ReviewSpan | None = Field(
        None,
        description="Keep the pictures that it is least sure of, so that people decide them; null keeps none and"
        " forgets those that are kept.",
    )

    @property
    def changes_review(self) -> bool:
        """Whether `review` was given, null included."""
        return "review" in self.model_fields_set

    @model_validator(mode="after")
    def _changes_one_thing(self) -> CollectionChange:
        if [self.encoder is not None, self.label_shares is not None, self.changes_review].count(True) != 1:
            raise ValueError("give `encoder`, `label_shares` or `review`, one at a time")
        return self
