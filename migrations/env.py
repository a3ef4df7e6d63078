"""What alembic runs: the revisions, on the connection that the caller opened and locked.

Knows no URL and commits nothing: `app.storage.database.migrate` owns the transaction.
"""

from __future__ import annotations

from alembic import context

from app.access import tables as access_tables  # noqa: F401  each registers its room's tables
from app.answers import tables as answers_tables  # noqa: F401
from app.collections import tables as collections_tables  # noqa: F401
from app.datasets import tables as datasets_tables  # noqa: F401
from app.feedback import tables as feedback_tables  # noqa: F401
from app.jobs import tables as jobs_tables  # noqa: F401
from app.models import tables as models_tables  # noqa: F401
from app.storage.database import Base

options = context.config.attributes
context.configure(
    connection=options["connection"],
    target_metadata=Base.metadata,
    on_version_apply=options.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
