"""Which collections this process knows and at which version, kept fresh without asking on every request.

A change is heard of in four ways: own writes and those of the other processes of this service at once, Redis'
announcements, and a look at the database each interval, so that a flushed or absent Redis delays news by a second and
loses none.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select, tuple_

from app.collections import repository
from app.collections.tables import Collection
from app.storage.database import Database
from app.storage.tallies import Tallies

_CHANNEL = "vision:collections"
_MAX_KNOWN = 4_096
_CANCEL_AGAIN_S = 0.1
_LISTEN_S = 1.0
_MAX_PAUSE_SECONDS = 30.0

log = structlog.get_logger("app.collections")


@dataclass(frozen=True)
class KnownCollection:
    """What classifying needs to know of a collection."""

    id: uuid.UUID
    workspace: str
    name: str
    encoder: str
    version: int
    is_reviewed: bool = False
    """Whether its least sure pictures are kept for review."""


def _to_known(row: Collection) -> KnownCollection:
    return KnownCollection(
        row.id, row.workspace, row.name, row.encoder, row.version, row.review_keep is not None
    )


class Directory:
    """The collections that this process was asked about, each at the newest version it has heard of."""

    def __init__(
        self, database: Database, redis: Redis, *, interval_s: float, tallies: Tallies | None = None
    ) -> None:
        """`tallies` counts changes that any process of this service makes."""
        self._database = database
        self._redis = redis
        self._interval_s = interval_s
        self._known: OrderedDict[tuple[str, str], KnownCollection] = OrderedDict()
        self._tallies = tallies or Tallies.alone()
        self._changes: dict[tuple[str, str], list[int]] = {}
        """What other processes of this service had counted before a known collection was read."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen and to look."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look())]

    async def close(self) -> None:
        """Stop both."""
        # redis-py swallows a cancellation that meets it while it connects: one may not be enough
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)

    async def get(self, workspace: str, name: str) -> KnownCollection:
        """The collection as this process knows it; raises CollectionNotFoundError."""
        known = self._known.get((workspace, name))
        changes = self._tallies.changes_of(workspace, name).others
        if known is None or self._changes.get((workspace, name), []) != changes:
            async with self._database.session() as session:
                row = await repository.find_collection(session, workspace, name)
            known = self.learn(row)
            self._changes[workspace, name] = changes
        self._known.move_to_end((workspace, name))
        return known

    def knows(self, workspace: str, name: str) -> bool:
        """Whether this process has met the collection."""
        return (workspace, name) in self._known

    def learn(self, row: Collection) -> KnownCollection:
        """Remember a row that was just read or written, unless a newer version of it is known."""
        seen = _to_known(row)
        old = self._known.get((row.workspace, row.name))
        if old is not None and old.id == seen.id and old.version > seen.version:
            return old
        self._known[row.workspace, row.name] = seen
        while len(self._known) > _MAX_KNOWN:
            oldest, _ = self._known.popitem(last=False)
            self._changes.pop(oldest, None)
        return seen

    def forget(self, workspace: str, name: str) -> None:
        """A collection that was just deleted."""
        self._known.pop((workspace, name), None)
        self._changes.pop((workspace, name), None)

    async def announce(self, row: Collection, *, gone: bool = False) -> None:
        """Tell the other processes: those of this service at once, others through Redis; without it they find out by
        themselves within an interval.
        """
        self._tallies.changes_of(row.workspace, row.name).add(1)
        news = {"workspace": row.workspace, "name": row.name, "id": str(row.id), "version": row.version}
        try:
            await self._redis.publish(_CHANNEL, json.dumps(news | {"gone": gone}))
        except (RedisError, OSError):
            return

    def _hear(self, data: bytes) -> None:
        news = json.loads(data)
        place = (str(news["workspace"]), str(news["name"]))
        known = self._known.get(place)
        if known is None:
            return
        if news["gone"] or str(known.id) != news["id"]:
            del self._known[place]
        elif known.version < news["version"]:
            self._known[place] = replace(known, version=int(news["version"]))

    async def _listen(self) -> None:
        pause = self._interval_s
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_CHANNEL)
                    pause = self._interval_s
                    while True:
                        message = await channel.get_message(timeout=_LISTEN_S)
                        if message is not None:
                            self._hear(message["data"])
            except (RedisError, OSError, ValueError, KeyError, TypeError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    async def _look(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._known:
                continue
            try:
                await self._compare()
                failing = False
            except Exception as error:  # whatever it is, the next look tries again
                if not failing:  # said once, not each second
                    log.warning("collection versions could not be read", reason=repr(error)[:300])
                failing = True

    async def _compare(self) -> None:
        asked = dict(self._known)
        places = list(asked)
        query = select(Collection).where(tuple_(Collection.workspace, Collection.name).in_(places))
        async with self._database.session() as session:
            rows = list(await session.scalars(query))
        found = {(row.workspace, row.name): row for row in rows}
        for place, before in asked.items():
            if self._known.get(place) is not before:
                continue  # newer news came while the database was asked
            row = found.get(place)
            if row is None:
                del self._known[place]
            elif (seen := _to_known(row)) != before:
                self._known[place] = seen
