"""How unsure pictures leave a request: into a short list in memory, which drops and counts what finds no room.

A request costs a comparison of its scores here, no query, no decoding and no copy. The list is written by
`app.feedback.keeping`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.collections.directory import KnownCollection
from app.collections.given_answers import GivenAnswer
from app.errors import VisionError
from app.feedback.scoring import PredictionScores, score_row
from app.http.spool import Entry
from app.observability.logs import current_request_id
from app.observability.metrics import Metrics
from app.settings.review import ReviewSettings

_LIMIT_SECONDS = 10.0
"""How long the margin limit of a full queue holds: another process may have made room meanwhile."""
_MAX_LIMITS = 4_096
_MIB = 1 << 20


@dataclass(frozen=True)
class UnsurePicture:
    """A picture that may be kept, and what its collection said of it. The taker closes `entry`."""

    collection: KnownCollection
    request_id: str
    entry: Entry
    encoder: str
    vector: NDArray[np.float32]
    prediction: PredictionScores


@dataclass(eq=False)
class HandOver:
    """The unsure pictures of one process that wait to be kept; an `AnswerListener`."""

    settings: ReviewSettings
    metrics: Metrics
    _waiting: deque[UnsurePicture] = field(default_factory=deque, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _margin_limits: dict[uuid.UUID, tuple[float, float]] = field(default_factory=dict, init=False)
    """Of collections whose queue is full: until when that is believed, and the margin of the surest kept."""

    def hear(self, given: GivenAnswer) -> None:
        """Take in those of the pictures that are unsure; see `AnswerListener`."""
        for row, entry in enumerate(given.images):
            prediction = score_row(
                given.labels, given.prediction, row, given.threshold, given.collection.version
            )
            if prediction.margin > self.settings.review_max_margin and not prediction.rejected:
                continue
            if self._is_surer(given.collection.id, prediction.margin):
                self.metrics.observe_review("surer")
                continue
            if (kept := self._keep(entry)) is None:
                self.metrics.observe_review("dropped")
                continue
            vector = given.vectors[row]
            self._waiting.append(
                UnsurePicture(given.collection, current_request_id(), kept, given.encoder, vector, prediction)
            )
            self._arrived.set()

    async def take(self) -> UnsurePicture:
        """The next one, as soon as there is one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        picture = self._waiting.popleft()
        self._waiting_bytes -= picture.entry.size
        return picture

    def set_margin_limit(self, collection_id: uuid.UUID, margin: float | None) -> None:
        """For a while pass over pictures of a collection that are as sure as `margin`; None passes over none."""
        self._margin_limits.pop(collection_id, None)
        if margin is not None:
            self._margin_limits[collection_id] = (time.monotonic() + _LIMIT_SECONDS, margin)
        while len(self._margin_limits) > _MAX_LIMITS:
            del self._margin_limits[next(iter(self._margin_limits))]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def close(self) -> None:
        """Drop what waits."""
        while self._waiting:
            self._waiting.popleft().entry.close()
            self.metrics.observe_review("dropped")
        self._waiting_bytes = 0

    def _is_surer(self, collection_id: uuid.UUID, margin: float) -> bool:
        until, limit = self._margin_limits.get(collection_id, (0.0, 0.0))
        return time.monotonic() < until and margin >= limit

    def _keep(self, entry: Entry) -> Entry | None:
        """The picture's bytes for longer than its request; None where there is no room for them."""
        if len(self._waiting) >= self.settings.review_queue:
            return None
        if self._waiting_bytes + entry.size > self.settings.review_queue_mb * _MIB:
            return None
        try:
            kept = entry.keep()
        except (VisionError, OSError):  # the spool is full, or its disk
            return None
        self._waiting_bytes += kept.size
        return kept
