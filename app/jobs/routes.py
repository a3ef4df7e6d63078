"""`/jobs`: follow long work, stop it, try it again, and fetch what it left behind; asking for it is `app.training`.

Knows parameters and headers; what happens is in `service`.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from app import errors
from app.access import Caller, require
from app.errors import InvalidInputError, shorten_name
from app.http.dependencies import AppSettings
from app.http.paging import Cursor, Limit, page_size, time_cursor, to_cursor
from app.http.problems import responses
from app.jobs import repository, streaming
from app.jobs.dependencies import JobDescriber, JobFiles, JobFollowers, JobService
from app.jobs.describing import artifact_of
from app.jobs.errors import (
    ArtifactNotFoundError,
    JobNotFoundError,
    JobStateError,
)
from app.jobs.info import RETRY_AFTER_S, JobInfo, State
from app.jobs.schemas import ArtifactList, JobList, JobPage, MetricList, MetricSeries

router = APIRouter(prefix="/jobs", tags=["jobs"])

USUAL_POINTS = 500
MOST_POINTS = 5_000
_EVENT_ID = re.compile("[0-9]{1,18}")

Trainer = Annotated[Caller, Depends(require("train"))]
Reader = Annotated[Caller, Depends(require("recognise"))]
JobPath = Annotated[str, Path(alias="job", description="Id of a job.")]
_NOT_FOUND = responses(JobNotFoundError)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`state`, `progress`, `metric` and `log` events, each with an id to go on from.",
        "content": {streaming.EVENT_STREAM: {"schema": {"type": "string"}}},
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
    caller: Reader,
    settings: AppSettings,
    jobs: JobService,
    describer: JobDescriber,
    state: Annotated[
        list[State] | None, Query(description="Only jobs in this state; may be repeated.")
    ] = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> JobList:
    """List jobs, the newest first."""
    size = page_size(limit, settings)
    rows = await jobs.page(caller.workspace, limit=size + 1, states=state or (), before=time_cursor(cursor))
    page = rows[:size]
    last = page[-1] if len(rows) > size else None
    return JobList(
        data=await describer.describe_all(page),
        next=to_cursor(last.created_at.isoformat(), str(last.id)) if last else None,
    )


@router.get("/{job}", responses=_NOT_FOUND)
async def get_job(
    response: Response, caller: Reader, job: JobPath, jobs: JobService, describer: JobDescriber
) -> JobPage:
    """Show one job with its evaluation and the files it left behind."""
    row = await jobs.get(caller.workspace, _id(job))
    if row.state in repository.OPEN:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    files = await jobs.artifacts(caller.workspace, row.id)
    info = await describer.describe(row)
    return JobPage(
        **info.model_dump(), result=row.result, artifacts=[artifact_of(row.id, one) for one in files]
    )


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
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return await describer.describe(row)


@router.get("/{job}/events", response_class=StreamingResponse, responses={**_STREAM, **_NOT_FOUND})
async def follow_job(
    caller: Reader,
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
        if await jobs.told_all(row.id, after):
            return Response(status_code=204)  # or a browser would ask again for ever
    return followers.follow(caller.workspace, row.id, after)


@router.get("/{job}/metrics", responses=_NOT_FOUND)
async def get_metrics(
    caller: Reader,
    job: JobPath,
    jobs: JobService,
    points: Annotated[
        int,
        Query(
            ge=2,
            le=MOST_POINTS,
            description="Most values of each metric; longer ones are thinned out evenly.",
        ),
    ] = USUAL_POINTS,
) -> MetricList:
    """Show a job's metrics by step."""
    found = await jobs.metrics(caller.workspace, _id(job), points=points)
    return MetricList(
        data=[MetricSeries(name=s.name, steps=s.steps, values=s.values, total=s.total) for s in found]
    )


@router.get("/{job}/artifacts", responses=_NOT_FOUND)
async def list_artifacts(caller: Reader, job: JobPath, jobs: JobService) -> ArtifactList:
    """List the files that a job left behind."""
    job_id = _id(job)
    files = await jobs.artifacts(caller.workspace, job_id)
    return ArtifactList(data=[artifact_of(job_id, one) for one in files])


@router.get(
    "/{job}/artifacts/{file:path}",
    response_class=StreamingResponse,
    responses={**_FILE, **responses(JobNotFoundError, ArtifactNotFoundError)},
)
async def get_artifact(
    caller: Reader,
    job: JobPath,
    file: Annotated[str, Path(max_length=1_000, description="A file's name, as the list shows it.")],
    jobs: JobService,
    files: JobFiles,
) -> StreamingResponse:
    """Download one file."""
    if "\0" in file:
        raise ArtifactNotFoundError
    found = await jobs.artifact(caller.workspace, _id(job), file)
    return await streaming.download(files, found)


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise JobNotFoundError(
            f"There is no job '{shorten_name(text)}': GET /v1/jobs lists their ids."
        ) from None
