"""Opens the services of the room for `app.bootstrap`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from app.access.quota import StorageQuota
from app.access.service import KeyRing
from app.collections.learning import Learning
from app.feedback.deciding import Decisions
from app.feedback.giving import Feedback
from app.feedback.handover import HandOver
from app.feedback.keeping import Keeper
from app.feedback.service import ReviewQueue
from app.observability.metrics import Metrics
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.database import Database


class ReviewDependencies(Protocol):
    """The services that the room needs."""

    settings: Settings
    metrics: Metrics
    database: Database
    blobs: BlobStore
    keys: KeyRing
    quota: StorageQuota


@dataclass
class ReviewServices:
    """The services of the room."""

    review: ReviewQueue
    decisions: Decisions
    feedback: Feedback
    keeper: Keeper


def open_review(stack: AsyncExitStack, ground: ReviewDependencies, learning: Learning) -> ReviewServices:
    """The services, with the keeper at work on what requests hand over; `stack` ends it."""
    database, blobs, quota, metrics = ground.database, ground.blobs, ground.quota, ground.metrics
    recognition = learning.recognition
    recognition.listener = handover = HandOver(ground.settings.review, metrics)
    keeper = Keeper(ground.settings.review, database, learning, blobs, quota, handover)
    keeper.start()
    stack.push_async_callback(keeper.close)
    decisions = Decisions(
        database,
        recognition,
        ground.keys,
        blobs,
        learning.limits,
        handover,
        metrics,
        ground.settings.batching.deadline_s,
    )
    feedback = Feedback(database, recognition, learning, decisions, blobs, quota, metrics)
    return ReviewServices(
        ReviewQueue(database, recognition, ground.settings.review.review_score_wait_s),
        decisions,
        feedback,
        keeper,
    )
