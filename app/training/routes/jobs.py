"""`POST /jobs`: make a job; `app.jobs` follows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response

from app import errors
from app.access import Caller, require
from app.access.errors import WorkspaceFullError
from app.collections.errors import CollectionNotFoundError, EncoderMismatchError
from app.datasets.errors import DatasetNotFoundError
from app.errors import InvalidInputError
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError
from app.jobs.dependencies import JobDescriber
from app.jobs.errors import (
    IdempotencyKeyError,
    NotTrainableError,
)
from app.jobs.info import RETRY_AFTER_SECONDS, JobInfo
from app.jobs.service import digest
from app.models.errors import ModelExistsError
from app.storage.errors import StoreUnavailableError
from app.strategies.errors import StrategyNotFoundError
from app.training.dependencies import TrainingService
from app.training.resolving import TrainingOptions
from app.training.schemas import JobRequest
from app.training.service import Submission

router = APIRouter(prefix="/jobs", tags=["jobs"])

_MAX_KEY_LENGTH = 255

Trainer = Annotated[Caller, Depends(require("train"))]


@router.post(
    "",
    status_code=202,
    responses=responses(
        StrategyNotFoundError,
        CollectionNotFoundError,
        DatasetNotFoundError,
        ModelNotFoundError,
        EncoderMismatchError,
        ModelExistsError,
        WorkspaceFullError,
        errors.InvalidInputError,
        NotTrainableError,
        IdempotencyKeyError,
        errors.OverloadedError,
        StoreUnavailableError,
    ),
)
async def create_job(
    response: Response,
    caller: Trainer,
    wanted: JobRequest,
    describer: JobDescriber,
    training: TrainingService,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Sent again with the same body it answers with the same job, with another one with 422."
        ),
    ] = None,
) -> JobInfo:
    """Queue a job; `Location` is where it can be followed."""
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= _MAX_KEY_LENGTH:
        raise InvalidInputError(f"Idempotency-Key: it has 1 to {_MAX_KEY_LENGTH} characters.")
    submission = Submission(
        how=wanted.config or wanted.strategy or "",
        collection=wanted.collection,
        dataset=wanted.dataset,
        options=_options(wanted),
    )
    job = await training.submit(
        caller.workspace,
        submission,
        key=idempotency_key,
        digest=digest(wanted.model_dump(mode="json")),
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return await describer.describe(job)


@router.post(
    "/check",
    status_code=204,
    responses=responses(
        StrategyNotFoundError,
        ModelNotFoundError,
        ModelExistsError,
        errors.InvalidInputError,
        NotTrainableError,
    ),
)
async def check_job(caller: Trainer, wanted: JobRequest, training: TrainingService) -> None:
    """Refuse what a request for a job would be refused for whatever its data: strategy, parameters, base model, name.

    Nothing is queued, and data are not looked at: ask before they are sent.
    """
    how = wanted.config or wanted.strategy or ""
    await training.check(caller.workspace, how, _options(wanted))


def _options(wanted: JobRequest) -> TrainingOptions:
    return TrainingOptions(wanted.params, wanted.base_model, wanted.name, wanted.seed)
