"""`/jobs`: follow jobs, cancel and retry them, and fetch their files; `app.training` makes them."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from app import errors
from app.access import Recogniser, Trainer
from app.errors import InvalidInputError, shorten_name
from app.http.event_stream import describe_events, describe_object
from app.http.fields import WholeNumber
from app.http.names import parse_id
from app.http.paging import PageQuery
from app.http.problems import responses
from app.jobs import repository, streaming
from app.jobs.dependencies import FilePath, JobDescriber, JobFiles, JobFollowers, JobService
from app.jobs.errors import (
    ArtifactNotFoundError,
    JobNotFoundError,
    JobStateError,
    TooManyFollowersError,
)
from app.jobs.info import RETRY_AFTER_SECONDS, ArtifactInfo, JobInfo, State
from app.jobs.schemas import ArtifactList, JobList, JobPage, MetricList, MetricSeries

router = APIRouter(prefix="/jobs", tags=["jobs"])

DEFAULT_POINTS = 500
MAX_POINTS = 5_000
_EVENT_ID = re.compile("[0-9]{1,18}")

JobPath = Annotated[str, Path(alias="job", description="Id of a job.")]
_NOT_FOUND = responses(JobNotFoundError)
_AT = {"type": "string", "format": "date-time", "description": "When it happened."}
_WHOLE = {"type": "integer", "minimum": 0}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`state`, `progress`, `metric` and `log` events, each with an id to go on from.",
        "content": describe_events(
            with_ids=True,
            state=describe_object(
                "state at",
                state={"enum": list(get_args(State))},
                attempt=_WHOLE,
                error=describe_object("code detail", code={"type": "string"}, detail={"type": "string"}),
                at=_AT,
            ),
            progress=describe_object(
                "at",
                phase={"type": ["string", "null"]},
                step=_WHOLE,
                of=_WHOLE,
                eta_s={"type": ["number", "null"], "description": "Seconds that are left."},
                at=_AT,
            ),
            metric=describe_object(
                "step values at",
                step=_WHOLE,
                values={"type": "object", "additionalProperties": {"type": "number"}},
                at=_AT,
            ),
            log=describe_object("line at", line={"type": "string"}, at=_AT),
        ),
    },
    204: {
        "description": "The job has ended, and the event of `Last-Event-ID` was its last: do not come back."
    },
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("")
async def list_jobs(
    caller: Recogniser,
    asked: PageQuery,
    jobs: JobService,
    describer: JobDescriber,
    state: Annotated[
        list[State] | None, Query(description="Only jobs in this state; may be repeated.")
    ] = None,
) -> JobList:
    """List jobs, the newest first."""
    before = asked.after(datetime.fromisoformat, uuid.UUID)
    rows = await jobs.page(caller.workspace, limit=asked.limit, states=state or (), before=before)
    page, following = asked.cut(rows, lambda row: (row.created_at.isoformat(), row.id))
    return JobList(data=await describer.describe_all(page), next=following)


@router.get("/{job}", responses=_NOT_FOUND)
async def get_job(
    response: Response, caller: Recogniser, job: JobPath, jobs: JobService, describer: JobDescriber
) -> JobPage:
    """Show one job with its evaluation and the files it left behind."""
    row = await jobs.get(caller.workspace, _id(job))
    if row.state in repository.OPEN:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    files = await jobs.artifacts(caller.workspace, row.id)
    info = await describer.describe(row)
    artifacts = [ArtifactInfo.of(file, f"/v1/jobs/{row.id}") for file in files]
    return JobPage(**info.model_dump(), result=row.result, artifacts=artifacts)


@router.post("/{job}/cancel", responses=responses(JobNotFoundError, JobStateError))
async def cancel_job(caller: Trainer, job: JobPath, jobs: JobService, describer: JobDescriber) -> JobInfo:
    """Stop a job: at once where it waits, within seconds where it runs."""
    return await describer.describe(await jobs.cancel(caller.workspace, _id(job)))


@router.post(
    "/{job}/retry",
    status_code=202,
    responses=responses(JobNotFoundError, JobStateError, errors.OverloadedError),
)
async def retry_job(
    response: Response, caller: Trainer, job: JobPath, jobs: JobService, describer: JobDescriber
) -> JobInfo:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    row = await jobs.retry(caller.workspace, _id(job))
    response.headers["Location"] = f"/v1/jobs/{row.id}"
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return await describer.describe(row)


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={**_STREAM, **responses(JobNotFoundError, TooManyFollowersError)},
)
async def follow_job(
    caller: Recogniser,
    job: JobPath,
    jobs: JobService,
    followers: JobFollowers,
    last_event_id: Annotated[
        str | None, Header(description="Go on after this event; from the first one without it.")
    ] = None,
) -> Response:
    """Follow a job as server-sent events, from its first one to its end; lines beginning with ':' mean nothing."""
    row = await jobs.get(caller.workspace, _id(job))
    after = 0
    if last_event_id:
        if not _EVENT_ID.fullmatch(last_event_id):
            raise InvalidInputError("Last-Event-ID: send the id of an event of this job.")
        after = int(last_event_id)
        if await jobs.has_told_all(row.id, after):
            return Response(status_code=204)  # or a browser would ask again for ever
    return followers.follow(caller.workspace, row.id, after)


@router.get("/{job}/metrics", responses=_NOT_FOUND)
async def get_metrics(
    caller: Recogniser,
    job: JobPath,
    jobs: JobService,
    points: Annotated[
        int,
        Query(
            ge=2,
            le=MAX_POINTS,
            description="Most values of each metric; longer ones are thinned out evenly.",
        ),
        WholeNumber,
    ] = DEFAULT_POINTS,
) -> MetricList:
    """Show a job's metrics by step."""
    found = await jobs.metrics(caller.workspace, _id(job), points=points)
    return MetricList(data=[MetricSeries(**vars(series)) for series in found])


@router.get("/{job}/artifacts", responses=_NOT_FOUND)
async def list_artifacts(caller: Recogniser, job: JobPath, jobs: JobService) -> ArtifactList:
    """List the files that a job left behind."""
    job_id = _id(job)
    files = await jobs.artifacts(caller.workspace, job_id)
    return ArtifactList(data=[ArtifactInfo.of(file, f"/v1/jobs/{job_id}") for file in files])


@router.get(
    "/{job}/artifacts/{file:path}",
    response_class=StreamingResponse,
    responses={**_FILE, **responses(JobNotFoundError, ArtifactNotFoundError)},
)
async def get_artifact(
    caller: Recogniser,
    job: JobPath,
    file: FilePath,
    jobs: JobService,
    files: JobFiles,
) -> StreamingResponse:
    """Download one file."""
    if "\0" in file:
        raise ArtifactNotFoundError
    found = await jobs.artifact(caller.workspace, _id(job), file)
    return await streaming.download(files, found)


def _id(text: str) -> uuid.UUID:
    absent = f"There is no job '{shorten_name(text)}': GET /v1/jobs lists their ids."
    return parse_id(text, JobNotFoundError, absent)
