"""How many bytes examples, answers and uploaded archives take, for the quota of a workspace.

Knows the columns as they were then; the tables of the rooms know them as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Images and archives that were stored before count as nothing."""
    for table, column in (("examples", "bytes"), ("answer_examples", "bytes"), ("datasets", "upload_bytes")):
        op.add_column(table, sa.Column(column, sa.BigInteger(), server_default="0", nullable=False))
