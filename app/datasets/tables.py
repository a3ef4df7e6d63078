"""The tables of datasets."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class Dataset(Base):
    """Images with labels, captions or questions, split; the manifest lies in the file store."""

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_workspace_created", "workspace", "created_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    name: Mapped[str]
    task: Mapped[str | None]
    """classification, caption or vqa; null until prepared."""
    format: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="preparing")
    """preparing, ready or failed."""
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Counts by split and label, sizes, refusals by reason."""
    manifest: Mapped[str | None]
    """Key of the manifest (JSON lines) in the file store."""
    upload_bytes: Mapped[int] = mapped_column(server_default="0")
    """Of the uploaded archive, which is removed when the dataset is ready."""
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DatasetImage(Base):
    """That a dataset shows an image of the blob store, which therefore must stay."""

    __tablename__ = "dataset_images"
    __table_args__ = (Index("ix_dataset_images_image", "image_sha256"),)

    dataset_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    image_sha256: Mapped[str] = mapped_column(primary_key=True)
