"""The tables of models."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class TrainedModel(Base):
    """A model that a job published or a client uploaded."""

    __tablename__ = "trained_models"

    workspace: Mapped[str] = mapped_column(
        ForeignKey("workspaces.name", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), unique=True)
    card: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """`app.jobs.spec.ModelCard`."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
