"""The tables come out of the migrations as the code knows them, once, however many processes ask."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.embedded import Addresses
from app.storage.database import Base, migrate, newest_revisions, sync_engine
from app.storage.errors import StoreUnavailableError
from tests.conftest import database_named, drop_database
from tests.schema import list_revisions, migrate_to


@pytest.fixture
def empty_url(servers: Addresses) -> str:
    """URL of a database without any table."""
    drop_database(servers, "empty")
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
    return database_named(servers, "empty")


def test_an_empty_database_gets_every_table_and_the_default_workspace(empty_url: str) -> None:
    assert migrate(empty_url) == list_revisions()
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT name FROM workspaces").fetchall() == [("default",)]
        assert connection.execute("SELECT '[1,2,3]'::vector <-> '[1,2,5]'").fetchone() == (2.0,)


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert migrate(database_url) == []


def test_what_an_up_to_date_database_is_held_against_is_what_alembic_calls_newest() -> None:
    config = Config()
    config.set_main_option("script_location", "migrations")
    assert newest_revisions() == list(ScriptDirectory.from_config(config).get_heads())


def test_an_up_to_date_database_is_left_alone_without_importing_alembic(database_url: str) -> None:
    asked = (
        "import sys, app.storage.database as d\n"
        "assert d.migrate(sys.argv[1]) == []\n"
        "assert 'alembic' not in sys.modules\n"
    )
    words = [sys.executable, "-c", asked, database_url]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_tables_are_those_that_the_code_declares(database_url: str) -> None:
    with sync_engine(database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_many_at_once_apply_each_revision_once(empty_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(migrate, [empty_url] * 6))
    assert sorted(applied) == [[], [], [], [], [], list_revisions()]


def test_a_killed_migration_leaves_nothing_behind(empty_url: str) -> None:
    # the revisions run, and the process dies before the transaction ends
    script = (
        "import os, sqlalchemy, app.storage.database as d\n"
        "sqlalchemy.event.listen(sqlalchemy.engine.Engine, 'commit', lambda c: os.kill(os.getpid(), 9))\n"
        f"d.migrate({empty_url!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=300)
    assert killed.returncode == -9, killed.stderr
    with psycopg.connect(empty_url) as connection:
        left = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert left == (0,)
    assert migrate(empty_url) == list_revisions()


def test_an_unknown_newer_revision_is_one_clear_sentence(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailableError, match="newer version of this service"):
        migrate(database_url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://someone:s3cret@127.0.0.1:1/pictures", "'pictures' at 127.0.0.1:1 cannot be reached"),
        ("postgresql:///pictures?host=/nowhere&password=s3cret", "'pictures' at /nowhere cannot be reached"),
        ("mysql://someone:s3cret@127.0.0.1/pictures", "must look like postgresql://"),
        ("s3cret", "must look like postgresql://"),
    ],
)
def test_a_database_that_is_not_there_is_one_sentence_without_the_password(url: str, words: str) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        migrate(url)
    assert words in caught.value.detail
    assert "s3cret" not in caught.value.detail
    assert "\n" not in caught.value.detail


def test_jobs_of_the_release_before_stay_as_they_were(empty_url: str) -> None:
    """As 0003 left them: queued, running or done, none of them was ever put off."""
    columns = "(id, workspace, kind, spec, queue, max_attempts, state, fence, attempt, checkpoint)"
    checkpoint = '{"prefix": "jobs/x/1/checkpoints/20", "fence": 1, "step": 20, "files": {}}'
    migrate_to(empty_url, "0003")
    with psycopg.connect(empty_url) as connection:
        for state in ("queued", "running", "succeeded"):
            connection.execute(
                f"INSERT INTO jobs {columns} "  # noqa: S608
                "VALUES (gen_random_uuid(), 'default', 'train', '{}', 'cpu', 5, %s, 1, 1, %s)",
                (state, checkpoint),
            )
    assert migrate(empty_url) == list_revisions(after="0003")
    with psycopg.connect(empty_url) as connection:
        found = connection.execute(
            "SELECT state, attempt, checkpoint->>'step', waits, not_before FROM jobs ORDER BY state"
        ).fetchall()
    assert found == [(state, 1, "20", 0, None) for state in ("queued", "running", "succeeded")]


def test_collections_of_the_release_before_expect_their_labels_alike(empty_url: str) -> None:
    migrate_to(empty_url, "0005")
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO collections (id, workspace, name, encoder, version, removals_since) "
            "VALUES (gen_random_uuid(), 'default', 'old', 'lite', 7, 0)"
        )
    assert migrate(empty_url) == list_revisions(after="0005")
    with psycopg.connect(empty_url) as connection:
        found = connection.execute("SELECT name, version, label_shares FROM collections").fetchall()
    assert found == [("old", 7, "equal")]


def test_collections_of_the_release_before_keep_nothing_for_review(empty_url: str) -> None:
    migrate_to(empty_url, "0006")
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO collections (id, workspace, name, encoder, version, removals_since) "
            "VALUES (gen_random_uuid(), 'default', 'old', 'lite', 7, 0)"
        )
    assert migrate(empty_url) == list_revisions(after="0006")
    with psycopg.connect(empty_url) as connection:
        found = connection.execute("SELECT version, review_keep, review_days FROM collections").fetchall()
    assert found == [(7, None, None)]


def test_what_decisions_of_the_release_before_taught_can_still_be_undone(empty_url: str) -> None:
    migrate_to(empty_url, "0007")
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO collections (id, workspace, name, encoder, version, removals_since) "
            "VALUES (md5('c')::uuid, 'default', 'old', 'lite', 7, 0)"
        )
        connection.execute(
            "INSERT INTO labels (collection_id, name, description) VALUES (md5('c')::uuid, 'mug', '')"
        )
        for picture, is_taught in (("made", True), ("found", False)):
            connection.execute(
                "INSERT INTO examples (id, collection_id, label_id, image_sha256, version, bytes) "
                "SELECT md5(%(picture)s)::uuid, collection_id, id, %(picture)s, 1, 10 FROM labels",
                {"picture": picture},
            )
            connection.execute(
                "INSERT INTO review_pictures (id, collection_id, request_id, image_sha256, bytes, encoder, vector, "
                "scores, guess, margin, rejected, scored_version, place, decision, label, example_id, is_taught) "
                "VALUES (gen_random_uuid(), md5('c')::uuid, 'r', %(picture)s, 10, 'lite', '[1]', "
                "'[]', 'mug', 0, false, 1, 0, 'right', 'mug', md5(%(picture)s)::uuid, %(is_taught)s)",
                {"picture": picture, "is_taught": is_taught},
            )
    assert migrate(empty_url) == list_revisions(after="0007")
    with psycopg.connect(empty_url) as connection:
        found = connection.execute("SELECT example_id = md5('made')::uuid FROM feedback_examples").fetchall()
    assert found == [(True,)]


def test_migrations_lie_beside_the_installed_package() -> None:
    # from any folder, with no alembic.ini in sight
    script = (
        "from importlib.resources import files; print(sorted(p.name for p in files('migrations').iterdir()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "env.py" in found.stdout
