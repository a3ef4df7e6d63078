"""Jobs that wait until their worker's disk has room, or files may be opened, again.

Knows the columns as they were then; `app.jobs.tables` knows them as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Jobs of before were never put off."""
    op.add_column("jobs", sa.Column("waits", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("not_before", sa.DateTime(timezone=True)))
