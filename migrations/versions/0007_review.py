"""Review and feedback: what a collection keeps for review, the pictures kept, and what people said of answers.

Knows the tables as they were then; the tables of the rooms know them as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Collections that were made before keep nothing."""
    op.add_column("collections", sa.Column("review_keep", sa.BigInteger(), nullable=True))
    op.add_column("collections", sa.Column("review_days", sa.BigInteger(), nullable=True))
    _add_pictures()
    op.create_table(
        "feedback_outcomes",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        _collection(),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.UniqueConstraint("collection_id", "image_sha256"),
    )
    op.create_index("ix_feedback_outcomes_time", "feedback_outcomes", ["collection_id", "decided_at", "id"])


def _add_pictures() -> None:
    op.create_table(
        "review_pictures",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _collection(),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("vector", Vector(), nullable=False),
        sa.Column("scores", JSONB(), nullable=False),
        sa.Column("guess", sa.Text(), nullable=False),
        sa.Column("margin", sa.Float(), nullable=False),
        sa.Column("rejected", sa.Boolean(), nullable=False),
        sa.Column("scored_version", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("example_id", sa.Uuid(), nullable=True),
        sa.Column("is_taught", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.UniqueConstraint("collection_id", "image_sha256"),
    )
    op.create_index("ix_review_pictures_image", "review_pictures", ["image_sha256"])
    op.create_index("ix_review_pictures_request", "review_pictures", ["collection_id", "request_id"])
    op.create_index("ix_review_pictures_created", "review_pictures", ["collection_id", "created_at", "id"])
    op.create_index(
        "ix_review_pictures_place",
        "review_pictures",
        ["collection_id", "place", "id"],
        postgresql_where=sa.text("decision IS NULL"),
    )


def _collection() -> sa.Column[object]:
    return sa.Column(
        "collection_id", sa.Uuid(), sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False
    )
