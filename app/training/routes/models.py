"""`/models/{m}/evaluate` and `/models/{m}/export`: jobs about a model."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field, model_validator

from app import errors
from app.access import Caller, require
from app.access.errors import WorkspaceFullError
from app.collections.dependencies import RecognitionService
from app.collections.errors import CollectionNotFoundError
from app.datasets.errors import DatasetNotFoundError
from app.families import FAMILIES
from app.http.bodies import RequestBody, with_example
from app.http.dependencies import AppDatabase
from app.http.names import CollectionName
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError, ModelTaskError
from app.inference.model_info import ModelInfo
from app.jobs.dependencies import JobDescriber, JobService
from app.jobs.describing import Describer
from app.jobs.errors import NotTrainableError
from app.jobs.info import JobInfo
from app.jobs.service import Jobs
from app.jobs.spec import DataRef, JobSpec, ResolvedJob
from app.methods.tasks import Metric, Task
from app.models.dependencies import Models
from app.models.resolver import ModelResolver
from app.models.service import ModelRecord
from app.training import learning_data
from app.training.dependencies import TrainingService

router = APIRouter(prefix="/models", tags=["models"])

Trainer = Annotated[Caller, Depends(require("train"))]
ModelPath = Annotated[str, Path(alias="model", max_length=200, description="Id of a model.")]
RETRY_AFTER_SECONDS = "2"


class EvaluationRequest(RequestBody):
    """What to judge a model on; exactly one of the two."""

    model_config = with_example({"collection": "mugs"})

    dataset: uuid.UUID | None = Field(None, description="Judge by this dataset's examples.")
    collection: CollectionName | None = Field(None, description="Judge by this collection's instead.")
    split: Literal["test", "validation", "train", "all"] = Field(
        "test", description="Which of a dataset's examples; a collection has no splits and gives all."
    )
    metrics: list[Metric] | None = Field(
        None, description="Figures that are kept; empty: all that apply. Chance stands beside them always."
    )

    @model_validator(mode="after")
    def _check_one_source(self) -> EvaluationRequest:
        if (self.dataset is None) == (self.collection is None):
            raise ValueError("name a dataset or a collection")
        return self


class ExportRequest(RequestBody):
    """What to make of a model."""

    model_config = with_example({"format": "onnx"})

    format: Literal["onnx", "safetensors"] = Field(
        description="`onnx`: graphs for other runtimes, of a vision-language model with a runner that answers by them; "
        "`safetensors`: merged weights in Hugging Face's format."
    )
    text_encoder: bool = Field(
        False,
        description="With `onnx`, of an encoder that reads texts or a classifier on one: add `text_encoder.onnx` and "
        "its tokenizer, which images do not need.",
    )


@router.post(
    "/{model}/evaluate",
    status_code=202,
    responses=responses(
        ModelNotFoundError,
        DatasetNotFoundError,
        CollectionNotFoundError,
        ModelTaskError,
        NotTrainableError,
        errors.OverloadedError,
    ),
)
async def evaluate_model(
    response: Response,
    caller: Trainer,
    model: ModelPath,
    wanted: EvaluationRequest,
    database: AppDatabase,
    recognition: RecognitionService,
    training: TrainingService,
    jobs: JobService,
    describer: JobDescriber,
    models: Models,
) -> JobInfo:
    """Judge a model: figures with the level of chance beside them, and pictures among its artifacts."""
    found = await models.find(caller.workspace, model)
    kind, task, base = _facts_of(models, found)
    if kind == "encoder" and base is not None:
        raise ModelTaskError(
            f"'{model[:100]}' has no labels of its own to be judged by: train a model on it first."
        )
    async with database.session() as session:
        if wanted.dataset is not None:
            data = await learning_data.of_dataset(session, caller.workspace, wanted.dataset)
        else:
            known = await recognition.resolve_collection(caller.workspace, wanted.collection or "")
            data = await learning_data.of_collection(session, known)
    asked = task or (next(iter(data.tasks)) if len(data.tasks) == 1 else "vqa")
    if isinstance(found, ModelRecord) and found.card.labels and kind == "vlm" and data.labels:
        asked = "classification"  # labels that it learned as answers, which are then chosen among
    if asked not in data.tasks:
        raise ModelTaskError(
            f"{data.name[:1].upper()}{data.name[1:]} holds no examples of what the model does ({asked})."
        )
    if not data.examples(asked):
        raise NotTrainableError(f"{data.name[:1].upper()}{data.name[1:]} holds no examples to judge by.")
    spec = JobSpec(
        kind="evaluate",
        task=asked,
        base_model=base,
        base_kind=kind,
        data=data.ref if isinstance(data.ref, DataRef) else None,
        params={"split": wanted.split, "metrics": wanted.metrics},
        model=model,
    )
    word = found.card.base_model if isinstance(found, ModelRecord) else base
    job = await training.placement.place(ResolvedJob(spec, "cpu"), word)
    return await _queue(jobs, describer, response, caller.workspace, job)


@router.post(
    "/{model}/export",
    status_code=202,
    responses=responses(ModelNotFoundError, ModelTaskError, WorkspaceFullError, errors.OverloadedError),
)
async def export_model(
    response: Response,
    caller: Trainer,
    model: ModelPath,
    wanted: ExportRequest,
    jobs: JobService,
    describer: JobDescriber,
    models: Models,
) -> JobInfo:
    """Write a model as files that other programs load; an ONNX file that computes something else is not published."""
    found = await models.find(caller.workspace, model)
    kind, task, base = _facts_of(models, found)
    if base is not None and FAMILIES.is_connected(base):
        raise ModelTaskError(f"'{base}' answers on another server: there are no weights here to export.")
    if base is not None and kind == "encoder" and wanted.format == "safetensors":
        raise ModelTaskError("This encoder is not trained here: its weights are where it came from.")
    reads_texts = kind == "encoder" and wanted.format == "onnx" and FAMILIES.get(_family(found)).reads_texts
    if wanted.text_encoder and not reads_texts:
        raise ModelTaskError(
            f"'{model[:100]}' has no text encoder to be written as {wanted.format}: leave text_encoder out."
        )
    spec = JobSpec(
        kind="export",
        task=task,
        base_model=base,
        base_kind=kind,
        data=await _find_training_data(jobs, caller.workspace, found),
        params={"format": wanted.format, "text_encoder": wanted.text_encoder},
        model=model,
    )
    return await _queue(jobs, describer, response, caller.workspace, ResolvedJob(spec, "cpu"))


def _family(found: ModelRecord | ModelInfo) -> str:
    return found.card.family if isinstance(found, ModelRecord) else found.family


def _facts_of(
    models: ModelResolver, found: ModelRecord | ModelInfo
) -> tuple[Literal["encoder", "vlm"], Task | None, str | None]:
    """Kind, task, and for a model that came with the service the word that loads it."""
    if isinstance(found, ModelRecord):
        return "vlm" if found.card.kind == "vlm" else "encoder", found.card.task, None
    return found.kind, _task(found), models.word_of(found)


async def _find_training_data(jobs: Jobs, workspace: str, found: ModelRecord | ModelInfo) -> DataRef | None:
    """What a model learned from, as far as is known."""
    if not isinstance(found, ModelRecord) or found.job_id is None:
        return None
    job = await jobs.get(workspace, found.job_id)
    return JobSpec.model_validate(job.spec).data


def _task(info: ModelInfo) -> Task | None:
    if info.kind == "encoder":
        return "classification"
    return (
        None if info.tasks is None or len(info.tasks) != 1 else ("vqa" if "vqa" in info.tasks else "caption")
    )


async def _queue(
    jobs: Jobs, describer: Describer, response: Response, workspace: str, resolved: ResolvedJob
) -> JobInfo:
    job = await jobs.queue(workspace, resolved)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    return await describer.describe(job)
