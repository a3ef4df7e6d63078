"""What the data and the base models of jobs are called, for whoever shows a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from app.collections.service import Recognition
from app.jobs.service import Job
from app.models.resolver import ModelResolver


class JobNames:
    """Names of collections and base models, as `app.jobs.describing.Names` asks for them."""

    def __init__(self, recognition: Recognition, models: ModelResolver) -> None:
        self._recognition = recognition
        self._models = models

    async def of_data(self, jobs: Sequence[Job]) -> dict[uuid.UUID, str]:
        """Names of the collections that jobs learn from; those still there."""
        ids = {
            uuid.UUID(reference)
            for job in jobs
            if (reference := (job.spec.get("data") or {}).get("collection")) is not None
        }
        return await self._recognition.names(ids)

    def of_base(self, spec: dict[str, Any]) -> str | None:
        """What clients call the base model of a job's specification."""
        word = spec.get("base_model")
        return None if word is None else self._models.name_for_clients(word, spec.get("base_kind"))
