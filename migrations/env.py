"""What alembic runs: the revisions, on the connection that the caller opened and locked.

Knows no URL and commits nothing: `app.database.migrate` owns the transaction.
"""

from __future__ import annotations

from alembic import context

from app.database import Base
from app.training import tables  # noqa: F401  registers the tables of jobs

options = context.config.attributes
context.configure(
    connection=options["connection"],
    target_metadata=Base.metadata,
    on_version_apply=options.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
