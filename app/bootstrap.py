"""Every service that a request uses, opened once by the app and closed in the opposite order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError

from app.access.admitting import admit
from app.access.keys import load_secret
from app.access.quota import StorageQuota
from app.access.service import KeyRing
from app.answers import service as answers
from app.answers.renewal import AnswerRenewal
from app.answers.service import Answering
from app.answers.teaching import Teaching
from app.collections import service as collections
from app.collections.cache import EmbeddingCache
from app.collections.directory import Directory
from app.collections.embedding import ImageEmbedder
from app.collections.head_store import HeadStore
from app.collections.learning import Learning
from app.collections.naming import CollectionNames
from app.collections.neighbours import RoomHooks
from app.collections.rebinding import Rebinding
from app.collections.renewal import ExampleRenewal
from app.collections.service import Recognition
from app.collections.thumbnails import Thumbnails
from app.datasets import service as datasets
from app.datasets.service import Datasets
from app.embedded import Addresses
from app.errors import VisionError
from app.feedback import service as review
from app.feedback.opening import ReviewServices, open_review
from app.http.spool import Spool
from app.inference.capacity import decode_threads, images_in_flight
from app.inference.engine.interface import Engine
from app.inference.fair_semaphore import FairSemaphore
from app.jobs import artifacts
from app.jobs.describing import Describer
from app.jobs.queueing import JobQueue
from app.jobs.service import Jobs
from app.jobs.streaming import Followers
from app.media.images import ImageLimits
from app.models.aliases import Collections
from app.models.resolver import ModelResolver
from app.models.service import TrainedModels
from app.observability.metrics import Metrics
from app.operations.part import DefaultModel, EngineModel, OwnModel, ServicePart
from app.settings import Settings
from app.storage import resting_redis
from app.storage.blobs import BlobStore
from app.storage.database import Database
from app.storage.files import FileStore
from app.storage.tallies import Tallies
from app.strategies import Strategies
from app.training.naming import JobNames
from app.training.service import Training

log = structlog.get_logger("app")


@dataclass
class _BaseServices:
    """What the services of the rooms stand on."""

    settings: Settings
    addresses: Addresses
    metrics: Metrics
    tallies: Tallies
    pool: ThreadPoolExecutor
    """Threads that decode and preprocess images."""
    spool: Spool
    database: Database
    redis: Redis
    """A cache and a channel for changes; its users work without it while it is unreachable."""
    blobs: BlobStore
    files: FileStore
    limits: ImageLimits
    keys: KeyRing
    quota: StorageQuota
    registry: Engine
    trained: TrainedModels
    models: ModelResolver


@dataclass
class Services(ReviewServices, _BaseServices):
    """What `app.state.services` holds while the app runs; routes get single ones of it (`app.http.dependencies`)."""

    recognition: Recognition
    collection_names: Collections
    learning: Learning
    rebinding: Rebinding
    thumbnails: Thumbnails
    answering: Answering
    teaching: Teaching
    strategies: Strategies
    jobs: Jobs
    describer: Describer
    training: Training
    datasets: Datasets
    followers: Followers
    job_asked: threading.Event
    """Set once a job was asked for or followed."""
    default_model: DefaultModel


@dataclass
class _Collections:
    directory: Directory
    embedder: ImageEmbedder
    recognition: Recognition
    learning: Learning


@asynccontextmanager
async def open_services(
    settings: Settings, addresses: Addresses, part: ServicePart
) -> AsyncIterator[Services]:
    """Open everything that this part of a service needs, in order; close it in the opposite one, whatever happens.

    Raises `BindRefusedError` and `SecretError` before anything listens.
    """
    async with AsyncExitStack() as stack:
        ground = await _open_ground(stack, settings, addresses, part)
        collections = _open_collections(stack, ground)
        recognition, learning = collections.recognition, collections.learning
        reviewing = open_review(stack, ground, learning)
        answering, teaching = _open_answers(stack, ground, collections)
        strategies = Strategies.load(settings)
        database, models = ground.database, ground.models
        asked = threading.Event()
        jobs = Jobs(settings, database, JobQueue(addresses.redis_url, asked=asked), ground.quota)
        followers = Followers(
            database,
            poll_s=settings.jobs.event_poll_s,
            most=settings.jobs.max_followers,
            most_of_one=settings.jobs.max_workspace_followers,
            asked=asked,
            tallies=part.tallies,
        )
        stack.callback(followers.close)
        collections.directory.start()
        stack.push_async_callback(collections.directory.close)
        default_model: DefaultModel = EngineModel(part.tallies)
        if part.has_models:
            default_model = OwnModel(ground.registry, settings.models.encoder_retry_s)
        stack.push_async_callback(default_model.close)
        if part.cleans:
            stack.push_async_callback(_cancel, asyncio.create_task(_sweep(learning)))
        yield Services(
            **vars(ground),
            recognition=recognition,
            collection_names=CollectionNames(database, recognition),
            learning=learning,
            rebinding=Rebinding(models, jobs),
            thumbnails=Thumbnails(ground.blobs, ground.limits, ground.pool),
            **vars(reviewing),
            answering=answering,
            teaching=teaching,
            strategies=strategies,
            jobs=jobs,
            describer=Describer(JobNames(recognition, models), ground.redis),
            training=Training(settings, database, recognition, strategies, jobs, models, ground.redis),
            datasets=Datasets(database, ground.files, jobs, recognition, learning, ground.quota),
            followers=followers,
            job_asked=asked,
            default_model=default_model,
        )


async def _open_ground(
    stack: AsyncExitStack, settings: Settings, addresses: Addresses, part: ServicePart
) -> _BaseServices:
    pool = ThreadPoolExecutor(decode_threads(settings), thread_name_prefix="decode")
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    uploads = settings.server.data_dir.expanduser() / "tmp" / "uploads"
    spool_bytes = settings.limits.max_spool_mb * 1024 * 1024
    spool = Spool(uploads, spool_bytes, settings.server.min_free_mb, part.tallies.get("spool_bytes"))
    database = Database(addresses.database_url, pool_size=settings.server.database_pool_size)
    stack.push_async_callback(database.close)
    redis = resting_redis.connect(addresses.redis_url)
    stack.push_async_callback(redis.aclose)
    keys = KeyRing(database, load_secret(settings))
    await admit(settings, keys)
    registry = await part.open_engine(settings, pool)
    stack.push_async_callback(registry.close)
    files = FileStore.from_settings(settings)
    counters = [room.count_stored_bytes for room in (collections, answers, datasets, artifacts, review)]
    quota = StorageQuota(database, counters, settings.limits.max_workspace_mb)
    trained = TrainedModels(settings, database, files, registry, quota)
    stack.push_async_callback(trained.close)
    return _BaseServices(
        settings=settings,
        addresses=addresses,
        metrics=part.metrics,
        tallies=part.tallies,
        pool=pool,
        spool=spool,
        database=database,
        redis=redis,
        blobs=BlobStore.from_settings(settings),
        files=files,
        limits=ImageLimits.from_settings(settings),
        keys=keys,
        quota=quota,
        registry=registry,
        trained=trained,
        models=ModelResolver(settings, registry, trained),
    )


def _is_one_of_several(settings: Settings) -> bool:
    """Whether this process is one of several front ends, each with its part of what is under way."""
    front_ends = settings.processes.front_ends
    return front_ends != "auto" and front_ends > 1


def _open_embedder(ground: _BaseServices) -> ImageEmbedder:
    batching = ground.settings.batching
    return ImageEmbedder(
        EmbeddingCache(ground.redis, ttl_s=batching.embedding_cache_ttl_s, enabled=batching.embedding_cache),
        ground.limits,
        ground.pool,
        ground.metrics,
        FairSemaphore(
            min(images_in_flight(ground.settings), batching.max_queue),
            batching.max_queue,
            lambda count: ground.metrics.observe_waiting("images", count),
            ground.tallies.in_flight("images") if _is_one_of_several(ground.settings) else None,
        ),
        deadline_s=batching.deadline_s,
    )


def _open_collections(stack: AsyncExitStack, ground: _BaseServices) -> _Collections:
    settings, database, registry = ground.settings, ground.database, ground.registry
    deadline_s = settings.batching.deadline_s
    directory = Directory(
        database, ground.redis, interval_s=settings.collections.watch_interval_s, tallies=ground.tallies
    )
    keep = settings.collections.max_cached_heads
    heads = HeadStore(database, registry, directory, keep=keep, deadline_s=deadline_s)
    stack.push_async_callback(heads.close)
    renewal = ExampleRenewal(
        database=database,
        registry=registry,
        directory=directory,
        blobs=ground.blobs,
        limits=ground.limits,
        deadline_s=deadline_s,
    )
    stack.push_async_callback(renewal.close)
    embedder = _open_embedder(ground)
    recognition = Recognition(
        database,
        registry,
        ground.models,
        directory,
        heads,
        renewal,
        embedder,
        ground.metrics,
        ground.trained,
        deadline_s=deadline_s,
    )
    learning = Learning(
        database,
        registry,
        ground.models,
        directory,
        recognition,
        embedder,
        ground.blobs,
        ground.limits,
        ground.pool,
        RoomHooks(
            answers.count_answers,
            image_finders=(answers.images_of, review.images_of),
            shown_finders=(answers.find_shown_images, datasets.find_shown_images, review.find_shown_images),
            trim_review=review.trim_review,
        ),
        ground.quota,
    )
    stack.push_async_callback(learning.close)
    return _Collections(directory, embedder, recognition, learning)


def _open_answers(
    stack: AsyncExitStack, ground: _BaseServices, collections: _Collections
) -> tuple[Answering, Teaching]:
    database, registry, blobs = ground.database, ground.registry, ground.blobs
    recognition, embedder = collections.recognition, collections.embedder
    deadline_s = ground.settings.batching.deadline_s
    renewal = AnswerRenewal(
        database=database, registry=registry, blobs=blobs, limits=ground.limits, deadline_s=deadline_s
    )
    stack.push_async_callback(renewal.close)
    answering = Answering(
        ground.settings,
        database,
        registry,
        recognition,
        renewal,
        embedder,
        blobs,
        ground.limits,
        ground.pool,
        ground.models,
        ground.trained,
        FairSemaphore(
            ground.settings.answers.in_flight,
            ground.settings.answers.vlm_max_queue,
            lambda count: ground.metrics.observe_waiting("questions", count),
            ground.tallies.in_flight("questions") if _is_one_of_several(ground.settings) else None,
        ),
    )
    teaching = Teaching(
        database,
        registry,
        recognition,
        collections.learning,
        embedder,
        blobs,
        quota=ground.quota,
        deadline_s=deadline_s,
    )
    return answering, teaching


async def _sweep(learning: Learning) -> None:
    """Drop what a killed process left behind; a failure is tried again at the next start."""
    try:
        await learning.sweep()
    except (VisionError, SQLAlchemyError, OSError) as error:
        log.warning("images without examples could not be swept", reason=type(error).__name__)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
