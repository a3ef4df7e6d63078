"""The tables of review and feedback."""

from __future__ import annotations

import uuid
from datetime import datetime

from pgvector.sqlalchemy import Vector
from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class ReviewPicture(Base):
    """A picture that a collection was unsure of, and what a person decided of it."""

    __tablename__ = "review_pictures"
    __table_args__ = (
        UniqueConstraint("collection_id", "image_sha256"),
        Index("ix_review_pictures_image", "image_sha256"),
        Index("ix_review_pictures_request", "collection_id", "request_id"),
        Index("ix_review_pictures_created", "collection_id", "created_at", "id"),
        Index(
            "ix_review_pictures_place",
            "collection_id",
            "place",
            "id",
            postgresql_where=text("decision IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    request_id: Mapped[str]
    """Of the request that it came with."""
    image_sha256: Mapped[str]
    """Hex SHA-256 of the stored (metadata-free) image; its key in the blob store."""
    bytes: Mapped[int]
    """Of the stored image."""
    encoder: Mapped[str]
    """Key of the encoder that made `vector`."""
    vector: Mapped[list[float]] = mapped_column(Vector())
    scores: Mapped[list[list[str | float]]] = mapped_column(JSONB())
    """The likeliest labels with their scores, as a person was shown them last."""
    guess: Mapped[str]
    """The likeliest of them, which a person may call right."""
    margin: Mapped[float]
    """How far the best score is ahead of the second."""
    rejected: Mapped[bool]
    scored_version: Mapped[int]
    """The collection's version that the scores are of."""
    place: Mapped[float]
    """Its margin when it came, and more for each less sure picture like it: the order of the queue."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    decision: Mapped[str | None]
    """One of `app.feedback.decisions.Decision`; null while it waits."""
    label: Mapped[str | None]
    """The label that it was decided to show."""
    example_id: Mapped[uuid.UUID | None]
    """The example that shows it under that label."""
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[uuid.UUID | None]
    """The key that decided; null for a caller without one."""


class FeedbackExample(Base):
    """An example that a decision or feedback created; undoing it removes the example."""

    __tablename__ = "feedback_examples"

    example_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True
    )


class FeedbackOutcome(Base):
    """The last decision on the answer to a picture, without the picture; counts for the agreement."""

    __tablename__ = "feedback_outcomes"
    __table_args__ = (
        UniqueConstraint("collection_id", "image_sha256"),
        Index("ix_feedback_outcomes_time", "collection_id", "decided_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    image_sha256: Mapped[str]
    source: Mapped[str]
    """`review` or `feedback`."""
    said: Mapped[str | None]
    """The label that the service predicted; null where it rejected all."""
    decision: Mapped[str]
    label: Mapped[str | None]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
