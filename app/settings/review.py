"""Settings of the review queue and of feedback."""

from __future__ import annotations

from pydantic import Field

from app.settings.group import SettingsGroup


class ReviewSettings(SettingsGroup):
    """Review and feedback."""

    review_max_pictures: int = Field(
        5_000, ge=1, description="Most pictures that a collection may keep for review."
    )
    review_max_days: int = Field(
        365, ge=1, description="Most days that a collection may keep a picture for review."
    )
    review_max_margin: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Answers whose best score is further ahead of the second are sure, and not kept; 1 keeps all.",
    )
    review_same_similarity: float = Field(
        0.98,
        ge=0,
        le=1,
        description="Cosine from which two pictures count as the same, of which one is kept for review.",
    )
    review_diversity: float = Field(
        0.1,
        ge=0,
        le=1,
        description="How far a picture moves back in the review queue for each less sure one like it, in units of the"
        " margin; 0 orders by margin alone.",
    )
    review_queue: int = Field(
        64,
        ge=1,
        description="Most pictures in a process's memory that wait to be kept; further ones are dropped.",
    )
    review_queue_mb: int = Field(64, ge=1, description="Most MiB of them.")
    review_score_wait_s: float = Field(
        1.0,
        gt=0,
        description="Seconds that a page of the review queue waits for scores by what was taught last; without them it"
        " shows those before.",
    )
    review_max_bulk: int = Field(500, ge=1, description="Most pictures decided by one call.")
    review_sweep_s: float = Field(
        3_600.0, gt=0, description="Seconds between two sweeps for kept pictures that are too old."
    )
    feedback_days: int = Field(
        365, ge=1, description="Days that what people said of answers counts in a collection's agreement."
    )
