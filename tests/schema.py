"""Databases as earlier versions of the service left them, by the same migrations that made them."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.storage.database import sync_engine


def _read_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config


def list_revisions(*, after: str | None = None) -> list[str]:
    """Every revision from the oldest to the newest, or those after `after`."""
    script = ScriptDirectory.from_config(_read_config())
    revisions = [step.revision for step in script.walk_revisions()][::-1]
    return revisions[0 if after is None else revisions.index(after) + 1 :]


def migrate_to(url: str, revision: str) -> None:
    """Give an empty database the tables that the service had at `revision`."""
    config = _read_config()
    with sync_engine(url).begin() as connection:
        config.attributes.update(connection=connection, on_version_apply=None)
        command.upgrade(config, revision)
