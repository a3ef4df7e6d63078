"""Answer examples: questions about images with their answers.

Knows the table as it was then; `app.storage.database` knows it as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """The table and its look-up by image."""
    op.create_table(
        "answer_examples",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column(
            "collection_id", sa.Uuid(), sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("image_vector", Vector(), nullable=False),
        sa.Column("question_vector", Vector(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index(
        "uq_answer_examples_question",
        "answer_examples",
        ["collection_id", "image_sha256", sa.text("md5(question)")],
        unique=True,
    )
    op.create_index("ix_answer_examples_image", "answer_examples", ["image_sha256"])
