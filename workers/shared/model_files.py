"""A model that a job looks at: its card, its files on this machine, and the name that loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.families.table import FAMILIES
from app.inference.errors import ModelNotFoundError
from app.inference.sources import EncoderConfig, Kind
from app.jobs.spec import ModelCard
from app.jobs.tables import Artifact
from app.models.classifiers import read_note
from app.models.fetching import fetch_files
from app.models.tables import TrainedModel
from app.settings import Settings
from workers.shared.run import JobRun


@dataclass(frozen=True)
class ModelFiles:
    """A trained model's card and folder; a model that came with the service has neither."""

    word: str
    """What the registry takes: the folder, or a base model's own name."""
    card: ModelCard | None
    folder: Path | None
    job: str | None
    """The job that trained it."""


def model_files(run: JobRun) -> ModelFiles:
    """The model that the job names, fetched and checked; raises ModelNotFoundError, ModelUnavailableError."""
    name = run.spec.model or ""
    with Session(run.engine) as session:
        row = session.get(TrainedModel, (run.task.workspace, name))
        if row is None:
            if run.spec.base_model is None:
                raise ModelNotFoundError(f"The model '{name}' is gone.")
            return ModelFiles(run.spec.base_model, None, None, None)
        card = ModelCard.model_validate(row.card)
        job = None if row.job_id is None else str(row.job_id)
        query = select(Artifact).where(Artifact.workspace == run.task.workspace, Artifact.model == name)
        files = [row for row in session.scalars(query) if row.name in card.files]
    folder = run.scratch / "models" / name
    fetch_files(run.files, files, folder)
    adapted = card.kind == "vlm" or read_note(folder).adapted is not None
    return ModelFiles(str(folder) if adapted else base_word(card, run.settings), card, folder, job)


def base_word(card: ModelCard, settings: Settings) -> str:
    """What the registry calls the model that this one was trained over; its name may mean another one by now."""
    kind: Kind = "vlm" if card.kind == "vlm" else "encoder"
    config = EncoderConfig.from_settings(settings)
    return FAMILIES.base_of(kind, card.base_model, card.base_fingerprint, config) or card.base_model
