"""Jobs: ask for one, follow it, wait for it, take what it made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llamafarm_vision.errors import JobFailedError
from llamafarm_vision.flows import JobReader, Progress, ServerEvent, fetch, list_rows, send
from llamafarm_vision.groups.files import save_files
from llamafarm_vision.replies.jobs import Artifact, CheckedConfiguration, Job, JobEvent, MetricSeries
from llamafarm_vision.steps import Call, Emit, Flow, ItemFlow, drop_none, quote_segment
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb


def _path(job: str | Job, *rest: str) -> str:
    return "/".join(["/v1/jobs", quote_segment(job.id if isinstance(job, Job) else job), *rest])


def train(
    strategy: str | None = None,
    *,
    collection: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    base_model: str | None = None,
    params: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    idempotency_key: str | None = None,
) -> Flow[Job]:
    """Queue a training: by a strategy, or by a whole configuration in its place.

    Args:
        collection: Learn from this collection's examples; `default` where no dataset is named either.
        dataset: Learn from this dataset instead, by its id.
        name: What the model shall be called.
        base_model: Train this model instead of the strategy's.
        params: Hyper-parameters that differ from the strategy's.
        idempotency_key: The same key never queues a second job; a new one for each call if empty.
    """
    body = drop_none(
        strategy=strategy,
        config=config,
        collection=collection,
        dataset=dataset,
        params=params,
        base_model=base_model,
        name=name,
        seed=seed,
    )
    # a key makes the call repeatable: the service answers the second time with the first one's job
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return fetch(Call("POST", "/v1/jobs", json=body, headers=headers, is_repeatable=True), Job)


def check_training(
    strategy: str | None = None,
    *,
    name: str | None = None,
    base_model: str | None = None,
    params: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Flow[None]:
    """Whether `train` would take these, whatever it learned from; raises what it would raise. Nothing is queued."""
    body = drop_none(
        strategy=strategy, config=config, params=params, base_model=base_model, name=name, seed=seed
    )
    yield from send(Call("POST", "/v1/jobs/check", json=body, is_repeatable=True))


def check_configuration(config: Mapping[str, Any]) -> Flow[CheckedConfiguration]:
    """Whether a configuration is right, with its defaults; raises `InvalidInputError` that names every wrong field."""
    call = Call("POST", "/v1/configurations/check", json=config, is_repeatable=True)
    return fetch(call, CheckedConfiguration)


def list_jobs(state: str | Sequence[str] | None = None) -> ItemFlow[Job]:
    """Every job, the newest first; `state` shows only those of one state or several."""
    states = [state] if isinstance(state, str) else state and list(state)
    return list_rows("/v1/jobs", Job.model_validate, state=states)


def get_job(job: str | Job) -> Flow[Job]:
    """One job with its result and its files."""
    return fetch(Call("GET", _path(job), is_repeatable=True), Job)


def cancel_job(job: str | Job) -> Flow[Job]:
    """Stop a job: at once where it waits, within seconds where it runs."""
    return fetch(Call("POST", _path(job, "cancel"), is_repeatable=True), Job)


def retry_job(job: str | Job) -> Flow[Job]:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    return fetch(Call("POST", _path(job, "retry")), Job)


def follow(
    job: str | Job, *, after: str | None = None, on_broken: Callable[[], None] = lambda: None
) -> ItemFlow[JobEvent]:
    """A job's events, from its first one to its end, across broken connections.

    Args:
        after: Only those after the event of this id.
        on_broken: Called each time that the connection broke, before it is tried again.

    Raises `UnreachableError` where the service stays away for three minutes.
    """
    reader = JobReader(_path(job), after, on_broken=on_broken)
    while (event := (yield from reader.read())) is not None:
        yield Emit(_to_job_event(event))


def _to_job_event(event: ServerEvent) -> JobEvent:
    return JobEvent(id=event.id, name=event.name, data=event.data)


def wait(
    job: str | Job,
    *,
    on_event: Callable[[JobEvent], None] = lambda event: None,
    timeout_s: float | None = None,
) -> Flow[Job]:
    """The job once it has succeeded.

    Args:
        on_event: Called with each of its events meanwhile.
        timeout_s: Seconds to wait; without it, as long as the job takes.

    Raises `JobFailedError` where it failed or was cancelled, TimeoutError where it still goes on after `timeout_s`.
    """
    reader = JobReader(_path(job), timeout_s=timeout_s)
    while (event := (yield from reader.read())) is not None:
        on_event(_to_job_event(event))
    ended = Job.model_validate(reader.job)
    if ended.state != "succeeded":
        raise JobFailedError(ended)
    return ended


def list_metrics(job: str | Job, *, points: int | None = None) -> ItemFlow[MetricSeries]:
    """A job's metrics by step; `points` is the most values of each."""
    return list_rows(_path(job, "metrics"), MetricSeries.model_validate, points=points)


def list_artifacts(job: str | Job) -> ItemFlow[Artifact]:
    """The files that a job left behind."""
    return list_rows(_path(job, "artifacts"), Artifact.model_validate)


def download_job(
    job: str | Job,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Flow[Path]:
    """Save all files of a job, as `models.download` does."""
    found = yield from get_job(job)
    return (yield from save_files(found.artifacts, Path(folder), overwrite=overwrite, progress=progress))


class Jobs(Group[Carrier]):
    """Trainings, evaluations, exports, and the preparation of datasets."""

    list = Listing(list_jobs)
    get = Verb(get_job)
    follow = Listing(follow)
    wait = Verb(wait)
    cancel = Verb(cancel_job)
    retry = Verb(retry_job)
    metrics = Listing(list_metrics)
    artifacts = Listing(list_artifacts)
    download = Verb(download_job)
