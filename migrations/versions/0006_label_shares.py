"""How often a collection's labels are expected: all alike, or as often as there are examples of each.

Knows the column as it was then; the table of the room knows it as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Collections that were made before expect all labels alike."""
    op.add_column("collections", sa.Column("label_shares", sa.Text(), server_default="equal", nullable=False))
