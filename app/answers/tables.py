"""The tables of answers."""

from __future__ import annotations

import uuid
from datetime import datetime

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ForeignKey,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class AnswerExample(Base):
    """A question about an image and its answer, shown to models beside questions like it.

    Both vectors are by the encoder `encoder`, as in `example_vectors`.
    """

    __tablename__ = "answer_examples"
    __table_args__ = (
        # by the question's digest: an index row has room for 2,704 bytes, a question may be longer
        Index(
            "uq_answer_examples_question", "collection_id", "image_sha256", text("md5(question)"), unique=True
        ),
        Index("ix_answer_examples_image", "image_sha256"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    image_sha256: Mapped[str]
    question: Mapped[str]
    answer: Mapped[str]
    encoder: Mapped[str]
    image_vector: Mapped[list[float]] = mapped_column(Vector())
    question_vector: Mapped[list[float]] = mapped_column(Vector())
    bytes: Mapped[int] = mapped_column(server_default="0")
    """Of the stored image; 0 where it was stored before they were counted."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
