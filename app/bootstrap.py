"""Everything a request may lean on, opened once by the app and closed in the opposite order.

Knows what there is and in which order it starts; knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError

from app.access.admitting import admit
from app.access.keys import load_secret
from app.access.service import KeyRing
from app.answers import service as answers
from app.answers.renewal import AnswerRenewal
from app.answers.service import Answering
from app.answers.teaching import Teaching
from app.collections.cache import EmbeddingCache
from app.collections.directory import Directory
from app.collections.embedding import ImageEmbedder
from app.collections.encoder_names import EncoderNames
from app.collections.head_store import HeadStore
from app.collections.learning import Learning
from app.collections.neighbours import Neighbours
from app.collections.rebinding import Rebinding
from app.collections.renewal import Renewal
from app.collections.service import Recognition
from app.collections.thumbnails import Thumbnails
from app.datasets import service as datasets
from app.datasets.service import Datasets
from app.embedded import Addresses
from app.errors import VisionError
from app.families import FAMILIES
from app.http.spool import Spool
from app.inference.registry import ModelRegistry
from app.jobs.describing import Describer
from app.jobs.queueing import JobQueue
from app.jobs.service import Jobs
from app.jobs.streaming import Followers
from app.media.images import ImageLimits
from app.models.service import TrainedModels
from app.observability.metrics import Metrics, ModelGauge
from app.observability.observer import ModelMetrics
from app.settings import Settings
from app.storage import resting_redis
from app.storage.blobs import BlobStore
from app.storage.database import Database
from app.storage.files import FileStore
from app.strategies import Strategies
from app.training.bases import BaseModels
from app.training.naming import JobNames
from app.training.service import Training

log = structlog.get_logger("app")


@dataclass
class Services:
    """What `app.state.services` holds while the app runs; routes get single ones of it (`app.http.dependencies`)."""

    settings: Settings
    addresses: Addresses
    metrics: Metrics
    pool: ThreadPoolExecutor
    """Threads that decode and preprocess images."""
    spool: Spool
    database: Database
    redis: Redis
    """A cache and a way to announce changes; whoever uses it goes on without it when it is away."""
    blobs: BlobStore
    files: FileStore
    trained: TrainedModels
    keys: KeyRing
    registry: ModelRegistry
    recognition: Recognition
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
    default_model: asyncio.Task[None]
    """Loads the default model while the app already answers; `/readyz` looks at it."""


@asynccontextmanager
async def open_services(
    settings: Settings, addresses: Addresses, metrics: Metrics
) -> AsyncIterator[Services]:
    """Open everything, in order; close it in the opposite one, whatever happens.

    Raises `BindRefusedError` and `SecretError` before anything listens.
    """
    async with AsyncExitStack() as stack:
        data_dir = settings.data_dir.expanduser()
        pool = ThreadPoolExecutor(settings.decode_threads or os.cpu_count() or 1, thread_name_prefix="decode")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        spool = Spool(data_dir / "tmp" / "uploads", settings.max_spool_mb * 1024 * 1024, settings.min_free_mb)
        database = Database(addresses.database_url, pool_size=settings.database_pool_size)
        stack.push_async_callback(database.close)
        redis = resting_redis.connect(addresses.redis_url)
        stack.push_async_callback(redis.aclose)
        keys = KeyRing(database, load_secret(settings))
        await admit(settings, keys)
        registry = ModelRegistry(settings, FAMILIES, pool=pool, observer=ModelMetrics(metrics))
        metrics.watch_models(lambda: _gauges(registry))
        stack.push_async_callback(registry.close)
        blobs = BlobStore.from_settings(settings)
        cache = EmbeddingCache(redis, ttl_s=settings.embedding_cache_ttl_s, enabled=settings.embedding_cache)
        limits = ImageLimits.from_settings(settings)
        directory = Directory(database, redis, interval_s=settings.watch_interval_s)
        deadline_s = settings.deadline_s
        names = EncoderNames(settings, registry)
        heads = HeadStore(
            database, registry, directory, keep=settings.max_cached_heads, deadline_s=deadline_s
        )
        stack.push_async_callback(heads.close)
        renewal = Renewal(database, registry, directory, blobs, limits, deadline_s=deadline_s)
        stack.push_async_callback(renewal.close)
        embedder = ImageEmbedder(cache, limits, pool, metrics, deadline_s=deadline_s)
        files = FileStore.from_settings(settings)
        trained = TrainedModels(settings, database, files, registry)
        recognition = Recognition(
            database,
            registry,
            names,
            directory,
            heads,
            renewal,
            embedder,
            metrics,
            trained,
            deadline_s=deadline_s,
        )
        neighbours = Neighbours(
            answers.count_answers, answers.images_of, shown=(answers.shown, datasets.shown)
        )
        learning = Learning(
            database,
            registry,
            names,
            directory,
            recognition,
            embedder,
            blobs,
            limits,
            pool,
            neighbours,
        )
        stack.push_async_callback(learning.close)
        answer_renewal = AnswerRenewal(database, registry, blobs, limits, deadline_s=deadline_s)
        stack.push_async_callback(answer_renewal.close)
        answering = Answering(
            settings, database, registry, recognition, answer_renewal, embedder, blobs, limits, pool, trained
        )
        teaching = Teaching(database, registry, recognition, learning, embedder, blobs, deadline_s=deadline_s)
        strategies = Strategies.load(settings)
        asked = threading.Event()
        jobs = Jobs(settings, database, JobQueue(addresses.redis_url, asked=asked))
        bases = BaseModels(settings, registry, names)
        followers = Followers(
            database, poll_s=settings.event_poll_s, most=settings.max_followers, asked=asked
        )
        stack.callback(followers.close)
        directory.start()
        stack.push_async_callback(directory.close)
        loading = asyncio.create_task(_load_default(registry))
        stack.push_async_callback(_cancelled, loading)
        stack.push_async_callback(_cancelled, asyncio.create_task(_sweep(learning)))
        yield Services(
            settings=settings,
            addresses=addresses,
            metrics=metrics,
            pool=pool,
            spool=spool,
            database=database,
            redis=redis,
            blobs=blobs,
            recognition=recognition,
            learning=learning,
            rebinding=Rebinding(names, jobs),
            thumbnails=Thumbnails(blobs, limits, pool),
            answering=answering,
            teaching=teaching,
            strategies=strategies,
            jobs=jobs,
            describer=Describer(JobNames(recognition, bases), redis),
            training=Training(settings, database, recognition, strategies, bases, jobs, trained),
            datasets=Datasets(database, files, jobs, recognition, learning),
            followers=followers,
            job_asked=asked,
            files=files,
            trained=trained,
            keys=keys,
            registry=registry,
            default_model=loading,
        )


def _gauges(registry: ModelRegistry) -> Iterator[ModelGauge]:
    for info in registry.live():
        yield ModelGauge(info.name, info.batches.queue_depth if info.batches else 0, info.memory_bytes or 0)


async def _load_default(registry: ModelRegistry) -> None:
    """Load the default model before the first request asks for it; that request shares the load when it is
    early.
    """
    async with registry.encoder() as live:
        log.info("default model is live", model=live.key, runtime=live.encoder.runtime)


async def _sweep(learning: Learning) -> None:
    """Drop what a killed process left behind; a failure is tried again at the next start."""
    try:
        await learning.sweep()
    except (VisionError, SQLAlchemyError, OSError) as error:
        log.warning("images without examples could not be swept", reason=type(error).__name__)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
