"""Workspaces, keys, collections, labels, examples and their vectors.

Knows the tables as they were then; `app.storage.database` knows them as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision = "0001"
down_revision = None


def created_at(name: str = "created_at") -> sa.Column[object]:
    """A moment that the database fills in."""
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def collection() -> sa.Column[object]:
    """What belongs to a collection goes with it."""
    return sa.Column(
        "collection_id", sa.Uuid(), sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False
    )


def workspace() -> sa.Column[object]:
    """What belongs to a workspace goes with it."""
    return sa.Column(
        "workspace", sa.Text(), sa.ForeignKey("workspaces.name", ondelete="CASCADE"), nullable=False
    )


def upgrade() -> None:
    """Everything, and the workspace that callers without a key use."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    workspaces = op.create_table("workspaces", sa.Column("name", sa.Text(), primary_key=True), created_at())
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), primary_key=True),
        workspace(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        created_at(),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_api_keys_workspace", "api_keys", ["workspace"])
    op.create_table(
        "collections",
        sa.Column("id", sa.Uuid(), primary_key=True),
        workspace(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("removals_since", sa.BigInteger(), nullable=False),
        created_at(),
        sa.UniqueConstraint("workspace", "name"),
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        collection(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.UniqueConstraint("collection_id", "name"),
    )
    op.create_table(
        "examples",
        sa.Column("id", sa.Uuid(), primary_key=True),
        collection(),
        sa.Column(
            "label_id", sa.BigInteger(), sa.ForeignKey("labels.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        created_at(),
        sa.UniqueConstraint("collection_id", "label_id", "image_sha256"),
    )
    op.create_index("ix_examples_collection_version", "examples", ["collection_id", "version"])
    op.create_index("ix_examples_image", "examples", ["image_sha256"])
    op.create_index("ix_examples_label_id", "examples", ["label_id"])
    op.create_table(
        "example_vectors",
        sa.Column(
            "example_id", sa.Uuid(), sa.ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("encoder", sa.Text(), primary_key=True),
        collection(),
        sa.Column("vector", Vector(), nullable=False),
    )
    op.create_index("ix_example_vectors_collection_id", "example_vectors", ["collection_id"])
    op.create_table(
        "removals",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        collection(),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("added_version", sa.BigInteger(), nullable=False),
        sa.Column("example_id", sa.Uuid(), nullable=False),
        sa.Column("label_id", sa.BigInteger(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("vector", Vector(), nullable=False),
        created_at("removed_at"),
    )
    op.create_index("ix_removals_collection_version", "removals", ["collection_id", "version"])
    op.bulk_insert(workspaces, [{"name": "default"}])
