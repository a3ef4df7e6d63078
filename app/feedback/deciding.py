"""What happens when a person decides a picture of the queue: remembered and taught in one transaction, or undone."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.service import KeyRing
from app.collections import vectors
from app.collections.directory import KnownCollection
from app.collections.neighbours import ReviewRetention
from app.collections.service import (
    AddResult,
    Collection,
    NewExample,
    Recognition,
    add_examples,
    find_collection,
    lock_images,
    settle_labels,
)
from app.errors import ConflictError, shorten_name
from app.feedback import feedback_examples, outcomes, repository
from app.feedback.decisions import Decision, ReviewDecision, Verdict
from app.feedback.errors import (
    AlreadyDecidedError,
    GuessChangedError,
    NotDecidedError,
    ReviewPictureNotFoundError,
)
from app.feedback.handover import HandOver
from app.feedback.outcomes import Source
from app.feedback.tables import ReviewPicture
from app.media import images
from app.media.images import ImageLimits
from app.observability.metrics import Metrics
from app.storage.blobs import BlobStore
from app.storage.database import Database

_WORDS = {"none": "none of the labels", "skip": "skipped"}


@dataclass(frozen=True)
class Reviewer:
    """Who decides: a workspace and its key, None for a caller without one."""

    workspace: str
    key_id: uuid.UUID | None


@dataclass(frozen=True)
class _PictureVectors:
    """The vectors of pictures by the encoder `key`, as SQL text: those of another encoder are computed again."""

    key: str
    replacements: dict[uuid.UUID, str]


@dataclass(frozen=True)
class _ChangeResult:
    """A collection and its pictures after a change of them."""

    collection: Collection
    rows: Sequence[ReviewPicture]
    waiting: int
    has_changed: bool
    """Whether the collection learned or forgot something."""
    examples: dict[uuid.UUID, AddResult] = field(default_factory=dict)
    """Of the pictures that show a label now."""


class _DecidedByOthersError(Exception):
    """Other callers have decided these pictures. The message about the first is read here, since a row cannot be read
    once its transaction was rolled back.
    """

    def __init__(self, rows: Sequence[ReviewPicture]) -> None:
        first = rows[0]
        self.picture, self.decided_by, self.decided_at = first.id, first.decided_by, first.decided_at
        self.what = _WORDS.get(first.decision or "", "") if first.label is None else f"'{first.label}'"
        self.more = len(rows) - 1
        super().__init__()


@dataclass(eq=False)
class Decisions:
    """Makes and undoes decisions on pictures of the review queue."""

    database: Database
    recognition: Recognition
    keys: KeyRing
    blobs: BlobStore
    limits: ImageLimits
    handover: HandOver
    metrics: Metrics
    deadline_s: float

    async def decide(
        self,
        reviewer: Reviewer,
        collection: str,
        pictures: Sequence[uuid.UUID],
        verdict: Verdict,
        source: Source = "review",
    ) -> list[ReviewDecision]:
        """Decide pictures in the order given, all of them or none, and teach what they show.

        What was answered is committed: label, example, vector and decision in one transaction. Raises
        CollectionNotFoundError, ReviewPictureNotFoundError, AlreadyDecidedError, GuessChangedError, and what embedding
        raises where the collection's encoder is another one by now.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        picture_ids = list(dict.fromkeys(pictures))
        try:
            async with self.database.session() as session:
                retention = await repository.read_retention(session, known.id)
                before = await repository.find(session, retention, picture_ids)
            _check(before, picture_ids, verdict)
            prepared = await self._prepare(known, before) if verdict.kind in ("label", "right") else None
            async with self.database.session() as session:
                result = await self._decide(session, reviewer, known, before, verdict, prepared, source)
        except _DecidedByOthersError as taken:
            raise await self._tell_taken(taken) from None
        await self.announce(result.collection, has_changed=result.has_changed)
        self.handover.set_margin_limit(known.id, None)
        decided = {row.id: _tell(row, result) for row in result.rows}
        for decision, count in Counter(row.decision or "" for row in result.rows).items():
            self.metrics.observe_decision(decision, count)
        return [decided[picture] for picture in picture_ids]

    async def undo(self, reviewer: Reviewer, collection: str, picture: uuid.UUID) -> ReviewDecision:
        """Let a picture wait again, and forget the example that deciding it made.

        Raises CollectionNotFoundError, ReviewPictureNotFoundError and NotDecidedError.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        async with self.database.session() as session:
            collection_row = await find_collection(session, reviewer.workspace, collection, lock=True)
            version = collection_row.version
            rows = await repository.find(session, to_retention(collection_row), [picture], lock=True)
            if not rows:
                raise ReviewPictureNotFoundError
            row = rows[0]
            if row.decision is None:
                raise NotDecidedError
            removed = await feedback_examples.forget(session, collection_row, row.image_sha256)
            await outcomes.remove(session, known.id, row.image_sha256)
            let_wait(row)
            await session.flush()
            result = _ChangeResult(
                collection_row,
                rows,
                await _count_waiting(session, collection_row),
                collection_row.version != version,
            )
        await self.announce(collection_row, has_changed=result.has_changed)
        self.metrics.observe_decision("undone")
        return replace(_tell(row, result), replaced_labels=removed.labels)

    async def announce(self, collection_row: Collection, *, has_changed: bool) -> None:
        """Tell this process, and others where it learned or forgot something, what a collection is now."""
        self.recognition.directory.learn(collection_row)
        if has_changed:
            await self.recognition.directory.announce(collection_row)

    async def _prepare(self, known: KnownCollection, rows: Sequence[ReviewPicture]) -> _PictureVectors:
        """What teaching the pictures needs; of most nothing is computed, since they were embedded when they came."""
        async with self.recognition.registry.encoder(known.encoder) as live:
            async with self.database.session() as session:
                await vectors.ensure_index(session, live.key, live.dim)
            replacements: dict[uuid.UUID, str] = {}
            for row in rows:
                if row.encoder == live.key:
                    continue
                try:
                    data = await self.blobs.get(row.image_sha256)
                except FileNotFoundError:
                    raise ReviewPictureNotFoundError(f"The image of the picture {row.id} is gone.") from None
                pixels = await asyncio.to_thread(
                    images.decode_pixels, data, self.limits, min_side=live.min_decoded_side
                )
                made = await live.embed_images([pixels], deadline_s=self.deadline_s)
                replacements[row.id] = vectors.to_sql(made[0])
            return _PictureVectors(live.key, replacements)

    async def _decide(
        self,
        session: AsyncSession,
        reviewer: Reviewer,
        known: KnownCollection,
        pictures: Sequence[ReviewPicture],
        verdict: Verdict,
        prepared: _PictureVectors | None,
        source: Source,
    ) -> _ChangeResult:
        if prepared is not None:
            await lock_images(session, [row.image_sha256 for row in pictures])
        collection_row = await find_collection(session, reviewer.workspace, known.name, lock=True)
        if collection_row.id != known.id or collection_row.encoder != known.encoder:
            self.recognition.directory.forget(reviewer.workspace, known.name)
            raise ConflictError("The collection was replaced meanwhile: try again.")
        version, ids = collection_row.version, [row.id for row in pictures]
        rows = await repository.find(session, to_retention(collection_row), ids, lock=True)
        _check(rows, ids, verdict)
        for row in rows:
            decision, label = verdict.decide(row.guess)
            row.decision, row.label = decision, label
            row.decided_at, row.decided_by = datetime.now(UTC), reviewer.key_id
            if decision == "none" and row.rejected:  # as the service had said
                await outcomes.put(session, known.id, row.image_sha256, source, None, "right", None)
            else:
                await outcomes.put(session, known.id, row.image_sha256, source, row.guess, decision, label)
        examples = {}
        if prepared is not None:
            examples = await _teach(session, collection_row, rows, prepared, replace=verdict.replace)
        await session.flush()
        waiting = await _count_waiting(session, collection_row)
        return _ChangeResult(collection_row, rows, waiting, collection_row.version != version, examples)

    async def _tell_taken(self, taken: _DecidedByOthersError) -> AlreadyDecidedError:
        """The failure that says who was first."""
        who = "a caller without a key"
        if taken.decided_by is not None:
            name = await self.keys.name_of(taken.decided_by)
            who = f"the key '{shorten_name(name)}'" if name else "a key that is gone"
        when = taken.decided_at.strftime(", %Y-%m-%d %H:%M:%S UTC") if taken.decided_at else ""
        more = f", and so were {taken.more} more of them" if taken.more else ""
        return AlreadyDecidedError(
            f"The picture {taken.picture} was decided already: {taken.what}, by {who}{when}{more}."
        )


def _tell(row: ReviewPicture, result: _ChangeResult) -> ReviewDecision:
    example = result.examples.get(row.id)
    return ReviewDecision(
        id=row.id,
        decision=cast("Decision | None", row.decision),
        label=row.label,
        example=row.example_id,
        collection_version=result.collection.version,
        waiting=result.waiting,
        replaced_labels=() if example is None else example.replaced_labels,
    )


async def _teach(
    session: AsyncSession,
    collection_row: Collection,
    rows: Sequence[ReviewPicture],
    prepared: _PictureVectors,
    *,
    replace: bool,
) -> dict[uuid.UUID, AddResult]:
    """Make examples of pictures that were decided to show a label; the caller has locked `collection_row`."""
    examples: dict[uuid.UUID, AddResult] = {}
    kept = await repository.read_vectors_as_text(session, [row.id for row in rows])
    by_label: defaultdict[str, list[ReviewPicture]] = defaultdict(list)
    for row in rows:
        by_label[row.label or ""].append(row)
    for label, alike in by_label.items():
        texts = [prepared.replacements.get(row.id) or kept[row.id] for row in alike]
        new = [NewExample(row.image_sha256, text, row.bytes) for row, text in zip(alike, texts, strict=True)]
        added = await add_examples(session, collection_row, label, "", new, prepared.key)
        added = await settle_labels(session, collection_row, label, added, replace=replace)
        await feedback_examples.note(session, [example.id for example in added if example.created])
        for row, example in zip(alike, added, strict=True):
            row.example_id, examples[row.id] = example.id, example
    return examples


def let_wait(row: ReviewPicture) -> None:
    """Forget that a picture was decided; the caller has locked it."""
    row.decision = row.label = row.example_id = row.decided_at = row.decided_by = None


def to_retention(collection_row: Collection) -> ReviewRetention:
    """What of a collection says which of its pictures are kept."""
    return ReviewRetention(collection_row.id, collection_row.review_keep, collection_row.review_days)


async def _count_waiting(session: AsyncSession, collection_row: Collection) -> int:
    waiting, _ = await repository.measure(session, to_retention(collection_row))
    return waiting


def _check(rows: Sequence[ReviewPicture], picture_ids: Sequence[uuid.UUID], verdict: Verdict) -> None:
    """Raise ReviewPictureNotFoundError, GuessChangedError or _DecidedByOthersError unless all can be decided so."""
    found = {row.id for row in rows}
    missing = [picture for picture in picture_ids if picture not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ReviewPictureNotFoundError(
            f"The review queue does not keep the picture {missing[0]}{more} (any more)."
        )
    taken = [row for row in rows if row.decision is not None]
    if taken:
        raise _DecidedByOthersError(taken)
    if verdict.guess is not None:
        for row in rows:
            if row.guess != verdict.guess:
                raise GuessChangedError(f"The guess for the picture {row.id} is '{row.guess}' by now.")
