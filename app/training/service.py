"""What happens when a training is asked for: its data counted, its strategy resolved, a job queued."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from redis.asyncio import Redis

from app.collections.service import Recognition
from app.errors import InvalidInputError
from app.jobs.service import Job, Jobs, trains
from app.models.errors import ModelExistsError
from app.models.resolver import ModelResolver
from app.settings import Settings
from app.storage.database import DEFAULT_COLLECTION, Database
from app.training import learning_data
from app.training.bases import BaseModels
from app.training.config import MultimodalConfig
from app.training.configurations import Configurations
from app.training.learning_data import LearningData
from app.training.placing import Placement
from app.training.resolving import Recipe, TrainingOptions, check_options, resolve_job

log = structlog.get_logger("app.training")


class Recipes(Protocol):
    """Finds strategies by name."""

    def get(self, name: str) -> Recipe:
        """By name or alias; raises StrategyNotFoundError."""


@dataclass(frozen=True)
class Submission:
    """A request for a job."""

    how: str | MultimodalConfig
    """The name of a strategy, or a configuration in its place."""
    collection: str | None
    dataset: uuid.UUID | None
    options: TrainingOptions


class Training:
    """Resolves what a client asks for to a job, and queues it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        recognition: Recognition,
        strategies: Recipes,
        jobs: Jobs,
        models: ModelResolver,
        redis: Redis,
    ) -> None:
        self._database = database
        self._recognition = recognition
        self._strategies = strategies
        self._models = models
        self._bases = BaseModels(models)
        self._jobs = jobs
        self.placement = Placement(settings, redis)
        self.configurations = Configurations(settings, models)

    async def submit(
        self, workspace: str, wanted: Submission, *, key: str | None = None, digest: str | None = None
    ) -> Job:
        """Queue a job, or find the one that the same `key` and body (its `digest`) made before.

        Raises IdempotencyKeyError for that key with another body, StrategyNotFoundError, CollectionNotFoundError,
        DatasetNotFoundError, ModelExistsError, OverloadedError where too many jobs are open, and whatever
        `resolving.resolved` and `Configurations.resolve` refuse.
        """
        if key is not None and (before := await self._jobs.find_repeated(workspace, key, digest)) is not None:
            return before
        data = await self._data(workspace, wanted)
        if isinstance(wanted.how, MultimodalConfig):
            job = await self.configurations.resolve(wanted.how, data, wanted.options)
            job = replace(job, strategy=None)
        else:
            job = resolve_job(self._strategies.get(wanted.how), data, wanted.options, self._bases)
        if wanted.options.name is not None:
            await self._check_name(workspace, wanted.options.name)
        job = await self.placement.place(job)
        return await self._jobs.queue(workspace, job, key=key, digest=digest)

    async def check(self, workspace: str, how: str | MultimodalConfig, options: TrainingOptions) -> None:
        """Raise what `submit` raises of everything but the data, which may not be there yet."""
        if isinstance(how, MultimodalConfig):
            await self.configurations.check(how, options)
        else:
            check_options(self._strategies.get(how), options, self._bases)
        if options.name is not None:
            await self._check_name(workspace, options.name)

    async def _data(self, workspace: str, wanted: Submission) -> LearningData:
        if wanted.dataset is not None:
            if wanted.collection is not None:
                raise InvalidInputError("collection, dataset: name one of them.")
            async with self._database.session() as session:
                return await learning_data.of_dataset(session, workspace, wanted.dataset)
        known = await self._recognition.resolve_collection(workspace, wanted.collection or DEFAULT_COLLECTION)
        async with self._database.session() as session:
            return await learning_data.of_collection(session, known)

    async def _check_name(self, workspace: str, name: str) -> None:
        async with self._database.session() as session:
            taken = await trains(session, workspace, name)
        if taken or await self._models.is_taken(workspace, name):
            raise ModelExistsError(f"There is a model '{name}' already, or a job that is making one.")
