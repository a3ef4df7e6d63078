"""Jobs, what they tell, and the models, files and datasets they leave behind.

Knows the tables as they were then; `app.jobs.tables` knows them as they are.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def _workspace(**options: Any) -> sa.Column[Any]:
    return sa.Column(
        "workspace",
        sa.Text(),
        sa.ForeignKey("workspaces.name", ondelete="CASCADE"),
        nullable=False,
        **options,
    )


def _created() -> sa.Column[Any]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _job(**options: Any) -> sa.Column[Any]:
    return sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="SET NULL"), **options)


def upgrade() -> None:
    """The tables and their look-ups."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _workspace(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text()),
        sa.Column("spec", JSONB(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("body_digest", sa.Text()),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.DateTime(timezone=True)),
        sa.Column("cancel", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("worker", sa.Text()),
        sa.Column("checkpoint", JSONB()),
        sa.Column("phase", sa.Text()),
        sa.Column("step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("of", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("eta_s", sa.Float()),
        sa.Column("metrics", JSONB(), server_default="{}", nullable=False),
        sa.Column("result", JSONB()),
        sa.Column("model", sa.Text()),
        sa.Column("error", JSONB()),
        _created(),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("workspace", "idempotency_key"),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["state", "lease"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index("ix_jobs_workspace_created", "jobs", ["workspace", "created_at"])
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_job_events_job", "job_events", ["job_id", "id"])
    op.create_table(
        "trained_models",
        _workspace(primary_key=True),
        sa.Column("id", sa.Text(), primary_key=True),
        _job(unique=True),
        sa.Column("card", JSONB(), nullable=False),
        _created(),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        _workspace(),
        _job(),
        sa.Column("model", sa.Text()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _created(),
        sa.UniqueConstraint("workspace", "model", "name"),
    )
    op.create_index("ix_artifacts_job", "artifacts", ["job_id"])
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _workspace(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task", sa.Text()),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="preparing", nullable=False),
        sa.Column("summary", JSONB()),
        sa.Column("manifest", sa.Text()),
        _job(),
        _created(),
    )
    op.create_index("ix_datasets_workspace_created", "datasets", ["workspace", "created_at"])
    op.create_table(
        "dataset_images",
        sa.Column(
            "dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("image_sha256", sa.Text(), primary_key=True),
    )
    op.create_index("ix_dataset_images_image", "dataset_images", ["image_sha256"])
