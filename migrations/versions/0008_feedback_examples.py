"""Which examples a word on a picture made, whether or not the review queue keeps the picture.

Knows the tables as they were then; the tables of the rooms know them as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Pictures of the queue said it themselves before; what feedback on other pictures had made is not known."""
    op.create_table(
        "feedback_examples",
        sa.Column(
            "example_id", sa.Uuid(), sa.ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True
        ),
    )
    op.execute(
        "INSERT INTO feedback_examples (example_id) SELECT DISTINCT e.id FROM review_pictures r "
        "JOIN examples e ON e.id = r.example_id WHERE r.is_taught"
    )
    op.drop_column("review_pictures", "is_taught")
