"""Fitted heads by collection, refitted when a collection's version moves, one fit at a time each."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.collections import vectors
from app.collections.directory import Directory, KnownCollection
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError
from app.collections.tables import Collection, Label
from app.collections.texts import label_vectors
from app.heads import Head, LabelShares, SupportSet, fit_head, priors_of, zero_shot_head
from app.inference.engine.interface import Engine, ServedEncoder
from app.inference.errors import DeadlineExceededError
from app.storage.database import Database

# In any order: a `SupportSet` does not depend on it, and sorting long rows takes longer than reading them.
_ADDED = (
    "SELECT e.label_id, v.vector FROM example_vectors v JOIN examples e ON e.id = v.example_id "
    "WHERE v.collection_id = %(collection)s AND v.encoder = %(encoder)s AND e.version > %(since)s"
)
# An example that came and went since the last look was never read, so there is nothing to take out.
_REMOVED = (
    "SELECT label_id, vector FROM removals WHERE collection_id = %(collection)s AND encoder = %(encoder)s "
    "AND version > %(since)s AND added_version <= %(since)s"
)

_Place = tuple[uuid.UUID, str]
"""Collection and encoder key."""
_LabelText = tuple[str, str]
"""Name and description."""


@dataclass(frozen=True)
class _FittedHead:
    """A collection's supports at `version`, its labels' vectors, and the head fitted on both."""

    version: int
    supports: SupportSet
    texts: dict[_LabelText, NDArray[np.float32]]
    head: Head | None


@dataclass(eq=False)
class HeadStore:
    """The heads of one process."""

    database: Database
    registry: Engine
    directory: Directory
    keep: int = field(kw_only=True)
    """How many heads stay; the least recently used go first."""
    deadline_s: float = field(kw_only=True)
    """For embedding texts."""
    _fitted: OrderedDict[_Place, _FittedHead] = field(default_factory=OrderedDict, init=False)
    _fits: dict[_Place, asyncio.Task[_FittedHead]] = field(default_factory=dict, init=False)
    _zero_shot: OrderedDict[tuple[str, tuple[str, ...]], Head] = field(
        default_factory=OrderedDict, init=False
    )

    _naming: WeakValueDictionary[tuple[str, tuple[str, ...]], asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    _reading: asyncio.Semaphore = field(init=False)
    """Fits that read their vectors: each holds a database connection, and others need some, too."""

    def __post_init__(self) -> None:
        self._reading = asyncio.Semaphore(self.database.pool_size)

    async def head(self, known: KnownCollection, live: ServedEncoder) -> Head:
        """The head of a collection, at least as new as `known`; raises EmptyCollectionError.

        Requests that come while a fit is under way share it, and it goes on when they leave.
        """
        place = (known.id, live.key)
        fitted = self._fitted.get(place)
        fresh = False  # a fit that began before this request may have read an older version
        while fitted is None or (fitted.version < known.version and not fresh):
            fit = self._fits.get(place)
            # one that has ended stays there until the event loop tells of it
            if fit is None or fit.done():
                fit, fresh = self._begin(place, known), True
            fitted = await asyncio.shield(fit)
        if place in self._fitted:
            self._fitted.move_to_end(place)
        if fitted.head is None:
            raise EmptyCollectionError
        return fitted.head

    async def zero_shot(self, live: ServedEncoder, labels: tuple[str, ...]) -> Head:
        """A head that knows these labels by their names alone; raises what embedding raises, within the deadline."""
        place = (live.key, labels)
        if place not in self._zero_shot:
            # one request embeds the labels and the others wait: many at once would fill the model's queue with them
            naming = self._naming.setdefault(place, asyncio.Lock())
            try:
                # where embedding fails, each that waits tries it anew: not one after another for ever
                async with asyncio.timeout(self.deadline_s), naming:
                    if place not in self._zero_shot:
                        self._zero_shot[place] = await self._name(live, labels)
            except TimeoutError:
                raise DeadlineExceededError from None
        head = self._zero_shot[place]
        self._zero_shot.move_to_end(place)
        if len(self._zero_shot) > self.keep:
            self._zero_shot.popitem(last=False)
        return head

    async def _name(self, live: ServedEncoder, labels: tuple[str, ...]) -> Head:
        texts = await label_vectors(live, [(label, "") for label in labels], deadline_s=self.deadline_s)
        return await asyncio.to_thread(zero_shot_head, list(labels), texts, priors_of(live))

    async def close(self) -> None:
        """Stop the fits under way."""
        for fit in list(self._fits.values()):
            fit.cancel()
        await asyncio.gather(*self._fits.values(), return_exceptions=True)

    def _begin(self, place: _Place, known: KnownCollection) -> asyncio.Task[_FittedHead]:
        fit = self._fits[place] = asyncio.create_task(self._fit(place, known))
        fit.add_done_callback(lambda done: self._end(place, done))
        return fit

    def _end(self, place: _Place, fit: asyncio.Task[_FittedHead]) -> None:
        if self._fits.get(place) is fit:
            del self._fits[place]
        if not fit.cancelled():
            fit.exception()  # seen, even when every request has left

    async def _fit(self, place: _Place, known: KnownCollection) -> _FittedHead:
        # a loan of its own: the requests that wait may leave, and their encoder with them
        async with self.registry.encoder(known.encoder) as live:
            fitted = await self._refit(self._fitted.get(place), known, live)
        self._fitted[place] = fitted
        self._fitted.move_to_end(place)
        while len(self._fitted) > self.keep:
            self._fitted.popitem(last=False)
        return fitted

    async def _refit(
        self, old: _FittedHead | None, known: KnownCollection, live: ServedEncoder
    ) -> _FittedHead:
        row, supports, labels = await self._read(old, known, live)
        labels = sorted((label for label in labels if supports.count(label.id)), key=lambda label: label.name)
        if not labels:
            return _FittedHead(row.version, supports, {}, None)
        texts: dict[_LabelText, NDArray[np.float32]] = {}
        if live.reads_texts:
            texts = await self._texts(
                {} if old is None else old.texts, live, [(label.name, label.description) for label in labels]
            )
        head = await asyncio.to_thread(
            fit_head,
            [label.name for label in labels],
            np.stack(list(texts.values())) if live.reads_texts else None,
            supports,
            [label.id for label in labels],
            priors_of(live),
            label_shares=cast("LabelShares", row.label_shares),
        )
        return _FittedHead(row.version, supports, texts, head)

    async def _read(
        self, old: _FittedHead | None, known: KnownCollection, live: ServedEncoder
    ) -> tuple[Collection, SupportSet, Sequence[Label]]:
        """The collection's row, supports and labels, all of one moment; what `old` has is not read again."""
        dim = live.dim
        async with self._reading, self.database.session() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            row = await session.get(Collection, known.id)
            if row is None:
                self.directory.forget(known.workspace, known.name)
                raise CollectionNotFoundError
            self.directory.learn(row)
            supports, since = SupportSet(dim), 0
            if (
                old is not None
                and row.removals_since <= old.version <= row.version
                and not old.supports.stale
            ):
                supports, since = old.supports.copy(), old.version
            wanted = {"collection": known.id, "encoder": live.key, "since": since}
            if since < row.version:
                if since:
                    async for label_ids, matrix in _supports(session, _REMOVED, wanted, dim):
                        await asyncio.to_thread(supports.remove, label_ids, matrix)
                async for label_ids, matrix in _supports(session, _ADDED, wanted, dim):
                    await asyncio.to_thread(supports.add, label_ids, matrix)
            labels = (await session.scalars(select(Label).where(Label.collection_id == known.id))).all()
        return row, supports, labels

    async def _texts(
        self, old: dict[_LabelText, NDArray[np.float32]], live: ServedEncoder, labels: Sequence[_LabelText]
    ) -> dict[_LabelText, NDArray[np.float32]]:
        """The vector of each label, in order; only what is new or described anew is embedded."""
        new = [label for label in labels if label not in old]
        made = dict(zip(new, await label_vectors(live, new, deadline_s=self.deadline_s), strict=True))
        return {label: old[label] if label in old else made[label] for label in labels}


async def _supports(
    session: AsyncSession, statement: str, wanted: dict[str, object], dim: int
) -> AsyncIterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Label ids int64[n] and vectors float32[n, dim], in chunks."""
    async for rows in vectors.stream(session, statement, wanted):
        yield np.array([row[0] for row in rows], np.int64), vectors.from_wire([row[1] for row in rows], dim)
