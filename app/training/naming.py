"""Names of the data and the base models of jobs, for descriptions of jobs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from app.collections.service import Recognition
from app.datasets.service import find_names
from app.jobs.service import Job
from app.models.resolver import ModelResolver


class JobNames:
    """Names of collections, datasets and base models, as `app.jobs.describing.NameLookup` asks for them."""

    def __init__(self, recognition: Recognition, models: ModelResolver) -> None:
        self._recognition = recognition
        self._models = models

    async def of_data(self, jobs: Sequence[Job]) -> dict[uuid.UUID, str]:
        """Names of the collections and datasets that jobs are about; those still there."""
        names = await self._recognition.names(_read_ids(jobs, "collection"))
        if datasets := _read_ids(jobs, "dataset"):
            async with self._recognition.database.session() as session:
                names |= await find_names(session, datasets)
        return names

    def of_base(self, spec: dict[str, Any]) -> str | None:
        """What clients call the base model of a job's specification."""
        word = spec.get("base_model")
        return None if word is None else self._models.name_for_clients(word, spec.get("base_kind"))


def _read_ids(jobs: Sequence[Job], kind: str) -> set[uuid.UUID]:
    references = [(job.spec.get("data") or {}).get(kind) for job in jobs]
    return {uuid.UUID(reference) for reference in references if reference is not None}
