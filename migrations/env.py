"""What alembic runs: the revisions, on the connection that the caller opened and locked.

Knows no URL and commits nothing: `app.storage.database.migrate` owns the transaction.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from alembic import context

import app
from app.storage.database import Base

for file in sorted(Path(str(app.__file__)).parent.glob("*/tables.py")):
    importlib.import_module(f"app.{file.parent.name}.tables")  # registers the room's tables

options = context.config.attributes
context.configure(
    connection=options["connection"],
    target_metadata=Base.metadata,
    on_version_apply=options.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
