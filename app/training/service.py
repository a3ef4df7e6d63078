"""What happens when long work is asked for: resolved, written down, announced; later looked at, stopped or retried.

Knows the order that loses no job (the row is committed before a worker hears of it); knows nothing of HTTP, and
leaves the work to the workers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.collections.directory import KnownCollection
from app.collections.service import Recognition
from app.errors import ConflictError, InvalidInputError, OverloadedError
from app.jobs import repository
from app.jobs.errors import ArtifactNotFoundError, IdempotencyKeyError, JobNotFoundError, JobStateError
from app.jobs.repository import NewJob, Series
from app.jobs.spec import DataRef, JobSpec, Resolved
from app.jobs.tables import Artifact, Job
from app.models.errors import ModelExistsError
from app.settings import Settings
from app.storage.database import DEFAULT_COLLECTION, Database
from app.training import learning_data
from app.training.bases import BaseModels
from app.training.config import MultimodalConfig
from app.training.config_recipe import NAME
from app.training.configurations import Configurations
from app.training.learning_data import LearningData
from app.training.resolving import Recipe, Wish, resolved

_FULL_RETRY_S = 30

log = structlog.get_logger("app.training")


class Recipes(Protocol):
    """Where strategies are found."""

    def get(self, name: str) -> Recipe:
        """By name or alias; raises StrategyNotFoundError."""


class Publisher(Protocol):
    """Where workers hear of jobs."""

    def publish(self, job_id: uuid.UUID, queue: str) -> bool:
        """Send a message; False where the broker is away. Blocks for a moment."""


@dataclass(frozen=True)
class Submission:
    """A request for long work."""

    how: str | MultimodalConfig
    """A strategy's name, or a configuration in its place."""
    collection: str | None
    dataset: uuid.UUID | None
    wish: Wish


class Jobs:
    """The jobs of one service, whoever carries them out."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        recognition: Recognition,
        strategies: Recipes,
        bases: BaseModels,
        queue: Publisher,
    ) -> None:
        self._settings = settings
        self._database = database
        self._recognition = recognition
        self._strategies = strategies
        self._bases = bases
        self._queue = queue
        self.configurations = Configurations(settings, bases)

    async def submit(
        self, workspace: str, wanted: Submission, *, key: str | None = None, digest: str | None = None
    ) -> Job:
        """Queue a job, or find the one that the same `key` and body (its `digest`) made before.

        Raises IdempotencyKeyError for that key with another body, StrategyNotFoundError, CollectionNotFoundError,
        DatasetNotFoundError, ModelExistsError, OverloadedError where too many jobs are open, and whatever
        `resolving.resolved` and `Configurations.resolve` refuse.
        """
        if key is not None and (before := await self._repeated(workspace, key, digest)) is not None:
            return before
        data = await self._data(workspace, wanted)
        if isinstance(wanted.how, MultimodalConfig):
            job = await self.configurations.resolve(wanted.how, data, wanted.wish)
        else:
            job = resolved(self._strategies.get(wanted.how), data, wanted.wish, self._bases)
        if wanted.wish.name is not None:
            await self._check_name(workspace, wanted.wish.name)
        return await self.queue(workspace, job, key=key, digest=digest)

    async def queue(
        self, workspace: str, wanted: Resolved, *, key: str | None = None, digest: str | None = None
    ) -> Job:
        """Write a resolved job down, then tell the workers; raises OverloadedError and IdempotencyKeyError."""
        job_id = uuid.uuid4()
        new = NewJob(
            workspace,
            None if wanted.strategy == NAME else wanted.strategy,
            wanted.spec,
            wanted.queue,
            self._settings.job_attempts,
            idempotency_key=key,
            body_digest=digest,
        )
        most = self._settings.max_open_jobs
        async with self._database.session() as session:
            made = await repository.submit(session, new, job_id, max_open=most)
            if made:
                await repository.tell(session, job_id, "state", {"state": "queued", "attempt": 0})
                for line in wanted.warnings:
                    await repository.tell(session, job_id, "log", {"line": line})
        if not made:
            if key is not None and (before := await self._repeated(workspace, key, digest)) is not None:
                return before  # another request with this key came in between
            if made is None:
                raise _full(most)
            raise RuntimeError("a job was neither inserted nor there before")
        await self._publish(job_id, wanted.queue)
        return await self.get(workspace, job_id)

    async def reembed(self, workspace: str, known: KnownCollection, encoder: str) -> Job:
        """Queue embedding a collection again by `encoder`, a word that the registry takes, and then the swap.

        Raises ConflictError where it is bound to that encoder, or a job of this kind is open, already.
        """
        shown = self._bases.shown(encoder, "encoder")
        if shown == self._bases.shown(known.encoder, "encoder"):
            raise ConflictError(f"The collection '{known.name}' is bound to the encoder '{shown}' already.")
        async with self._database.session() as session:
            open_one = await repository.open_of_kind(session, workspace, "reembed", known.id)
        if open_one is not None:
            raise ConflictError(
                f"The job {open_one} is binding '{known.name}' to another encoder: wait for it, or cancel it."
            )
        spec = JobSpec(
            kind="reembed", base_model=encoder, base_kind="encoder", data=DataRef(collection=known.id)
        )
        return await self.queue(workspace, Resolved(spec, "cpu"))

    async def get(self, workspace: str, job_id: uuid.UUID) -> Job:
        """One job; raises JobNotFoundError."""
        async with self._database.session() as session:
            job = await repository.find(session, workspace, job_id)
        if job is None:
            raise JobNotFoundError
        return job

    async def page(
        self,
        workspace: str,
        *,
        limit: int,
        states: Sequence[str] = (),
        before: tuple[datetime, uuid.UUID] | None = None,
    ) -> list[Job]:
        """Jobs, the newest first."""
        async with self._database.session() as session:
            return await repository.listing(session, workspace, limit=limit, states=states, before=before)

    async def cancel(self, workspace: str, job_id: uuid.UUID) -> Job:
        """Stop a job: at once where it waits, within seconds where it runs; one that is cancelled already stays so.

        Raises JobNotFoundError, and JobStateError for one that ended otherwise.
        """
        async with self._database.session() as session:
            state = await repository.cancel(session, workspace, job_id)
            if state == "cancelled":
                await repository.tell(session, job_id, "state", {"state": "cancelled"})
            elif state == "running":
                await repository.tell(session, job_id, "log", {"line": "Cancelling was asked for."})
        job = await self.get(workspace, job_id)
        if state is None and job.state != "cancelled":
            raise JobStateError(f"The job has {job.state} already.")
        return job

    async def retry(self, workspace: str, job_id: uuid.UUID) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint where there is one.

        Raises JobNotFoundError, JobStateError for a job in another state, OverloadedError where too many are open.
        """
        most = self._settings.max_open_jobs
        async with self._database.session() as session:
            full = await repository.open_jobs(session, workspace, lock=True) >= most
            queue = None if full else await repository.retry(session, workspace, job_id)
            if queue is not None:
                await repository.tell(session, job_id, "state", {"state": "queued", "attempt": 0})
        if queue is None:
            job = await self.get(workspace, job_id)
            if full and job.state in repository.AGAIN:
                raise _full(most)
            raise JobStateError(
                f"Only failed and cancelled jobs can be tried again; this one is {job.state}."
            )
        await self._publish(job_id, queue)
        return await self.get(workspace, job_id)

    async def metrics(self, workspace: str, job_id: uuid.UUID, *, points: int) -> list[Series]:
        """A job's metrics by step, at most `points` of each; raises JobNotFoundError."""
        await self.get(workspace, job_id)
        async with self._database.session() as session:
            return await repository.metrics(session, job_id, points=points)

    async def told_all(self, job_id: uuid.UUID, after: int) -> bool:
        """Whether a job has ended and told nothing after the event of that id."""
        async with self._database.session() as session:
            return await repository.told_all(session, job_id, after)

    async def artifacts(self, workspace: str, job_id: uuid.UUID) -> list[Artifact]:
        """What a job left behind; raises JobNotFoundError."""
        await self.get(workspace, job_id)
        async with self._database.session() as session:
            return await repository.artifacts(session, workspace, job_id)

    async def artifact(self, workspace: str, job_id: uuid.UUID, name: str) -> Artifact:
        """One file of them; raises JobNotFoundError and ArtifactNotFoundError."""
        await self.get(workspace, job_id)
        async with self._database.session() as session:
            found = await repository.artifact(session, workspace, job_id, name)
        if found is None:
            raise ArtifactNotFoundError
        return found

    async def names_of_data(self, jobs: Sequence[Job]) -> dict[uuid.UUID, str]:
        """Names of the collections that jobs learn from."""
        async with self._database.session() as session:
            return await repository.names_of_data(session, jobs)

    def shown_base(self, spec: dict[str, Any]) -> str | None:
        """What clients call the base model of a job's specification."""
        word = spec.get("base_model")
        return None if word is None else self._bases.shown(word, spec.get("base_kind"))

    async def _data(self, workspace: str, wanted: Submission) -> LearningData:
        if wanted.dataset is not None:
            if wanted.collection is not None:
                raise InvalidInputError("collection, dataset: name one of them.")
            async with self._database.session() as session:
                return await learning_data.of_dataset(session, workspace, wanted.dataset)
        known = await self._recognition.known(workspace, wanted.collection or DEFAULT_COLLECTION)
        async with self._database.session() as session:
            return await learning_data.of_collection(session, known)

    async def _check_name(self, workspace: str, name: str) -> None:
        async with self._database.session() as session:
            taken = await repository.model_named(session, workspace, name)
        if taken or self._bases.taken(name):
            raise ModelExistsError(f"There is a model '{name}' already, or a job that is making one.")

    async def _repeated(self, workspace: str, key: str, digest: str | None) -> Job | None:
        async with self._database.session() as session:
            job = await repository.by_key(session, workspace, key)
        if job is not None and job.body_digest != digest:
            raise IdempotencyKeyError
        return job

    async def _publish(self, job_id: uuid.UUID, queue: str) -> None:
        """Tell the workers; who cannot be told now is told by the sweeper."""
        if not await asyncio.to_thread(self._queue.publish, job_id, queue):
            log.warning("workers could not be told of a job yet", job=str(job_id), queue=queue)
            return
        try:
            async with self._database.session() as session:
                await repository.published(session, job_id)
        except SQLAlchemyError as error:  # it is told again
            log.warning("a message could not be noted", job=str(job_id), reason=type(error).__name__)


def _full(most: int) -> OverloadedError:
    return OverloadedError(
        f"{most} jobs wait or run already: try again when some are done.", retry_after_s=_FULL_RETRY_S
    )
