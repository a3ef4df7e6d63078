"""What may be wrong with a collection's examples, as its head knows from leaving each out."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from app.collections import listing, vectors
from app.collections.directory import KnownCollection
from app.heads import Head
from app.heads.alike import MAX_PAIRS, Overlap, Pairs, near_duplicates, overlaps
from app.heads.gathering import CORE
from app.heads.noise import Suspect
from app.heads.novelty import ENOUGH
from app.heads.supports import vector_key
from app.heads.types import Floats, Ints, unit
from app.inference.engine.interface import ServedEncoder
from app.storage.database import Database

# A head knows examples by their vectors alone, so those of the labels in question are read once more.
_VECTORS = (
    "SELECT e.id, l.name, v.vector FROM example_vectors v JOIN examples e ON e.id = v.example_id "
    "JOIN labels l ON l.id = e.label_id WHERE v.collection_id = %(collection)s AND v.encoder = %(encoder)s "
    "AND l.name = ANY(%(labels)s)"
)

# Ids are random, so that the first by them are a sample of all.
_COMPARED = (
    "SELECT e.id, l.name, v.vector FROM (SELECT id, label_id FROM examples WHERE collection_id = %(collection)s "
    "ORDER BY id LIMIT %(most)s) e JOIN labels l ON l.id = e.label_id "
    "JOIN example_vectors v ON v.example_id = e.id AND v.encoder = %(encoder)s"
)

_COUNT = text(
    "SELECT count(*) FROM (SELECT FROM examples WHERE collection_id = :collection LIMIT :most) compared"
)

_Key = tuple[str, bytes]
"""A label's name and `vector_key` of a vector."""


@dataclass(frozen=True)
class SuspectExample:
    """An example whose label the other examples contradict."""

    id: uuid.UUID
    label: str
    told: str
    probability: float
    """That its own label is right."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two examples that are nearly the same picture."""

    examples: tuple[uuid.UUID, uuid.UUID]
    labels: tuple[str, str]
    similarity: float


@dataclass(frozen=True)
class OverlappingLabels:
    """Two labels that are hard to distinguish."""

    labels: tuple[str, str]
    share: float | None
    """Share of their examples that are predicted as the other one when left out; None where none was left out."""
    similarity: float | None
    """Mean cosine of an example of the one and one of the other."""
    sentence: str


@dataclass(frozen=True)
class LabelState:
    """How well one label is learned."""

    label: str
    examples: int
    recall: float | None
    """Share of its examples that are predicted right when left out."""


@dataclass(frozen=True)
class HealthReport:
    """What an examination found."""

    examples: int
    examined: int
    suspects: list[SuspectExample] = field(default_factory=list)
    suspects_total: int = 0
    labels: list[LabelState] = field(default_factory=list)
    labels_total: int = 0
    near_duplicates: list[NearDuplicate] = field(default_factory=list)
    near_duplicates_total: int = 0
    overlapping_labels: list[OverlappingLabels] = field(default_factory=list)
    overlapping_labels_total: int = 0
    small_labels: list[LabelState] = field(default_factory=list)
    """Of fewer examples than leaving one out takes."""
    small_labels_total: int = 0
    notes: list[str] = field(default_factory=list)


async def examine(
    database: Database, known: KnownCollection, head: Head | None, live: ServedEncoder, limit: int, most: int
) -> HealthReport:
    """At most `limit` of each kind of finding, of a collection whose head is `head`, None without any example; at most
    `most` examples are compared with one another.

    An example that was forgotten after the head was fitted is left out.
    """
    async with database.session() as session:
        counts = await listing.count_labels(session, known.id)
    if head is None:
        return HealthReport(sum(counts.values()), 0, notes=["Nothing was taught yet."])
    suspects = await _find_examples(database, known, head, live, head.suspects[:limit])
    compared = await _read_compared(database, known, head, live, most)
    alike = await asyncio.to_thread(near_duplicates, compared.vectors, compared.labels)
    overlapping = await asyncio.to_thread(overlaps, head, compared.vectors, compared.labels)
    recalls = dict(zip(head.labels, head.recalls.tolist(), strict=True))
    labels = [
        LabelState(label, count, None if np.isnan(recalls.get(label, np.nan)) else recalls[label])
        for label, count in counts.items()
    ]
    labels.sort(key=lambda state: (state.recall is None, state.recall or 0.0, state.examples, state.label))
    small = sorted(
        (state for state in labels if state.examples < ENOUGH),
        key=lambda state: (state.examples, state.label),
    )
    health = HealthReport(
        examples=sum(counts.values()),
        examined=int(head.left_out.sum()),
        suspects=suspects[:limit],
        suspects_total=len(head.suspects),
        labels=labels[:limit],
        labels_total=len(labels),
        near_duplicates=_name_pairs(alike, compared, head, limit),
        near_duplicates_total=len(alike.rows),
        overlapping_labels=[_name_overlap(overlap, head) for overlap in overlapping[:limit]],
        overlapping_labels_total=len(overlapping),
        small_labels=small[:limit],
        small_labels_total=len(small),
    )
    health.notes.extend(_notes(health, head))
    health.notes.extend(_notes_of_comparing(health, compared, alike))
    return health


@dataclass(frozen=True)
class _ComparedExamples:
    """Examples of labels that the head knows."""

    ids: list[uuid.UUID]
    labels: Ints
    """int64[n]: positions among the head's labels."""
    vectors: Floats
    """float32[n, d], of unit length."""


async def _read_compared(
    database: Database, known: KnownCollection, head: Head, live: ServedEncoder, most: int
) -> _ComparedExamples:
    places = {label: place for place, label in enumerate(head.labels)}
    ids: list[uuid.UUID] = []
    labels: list[int] = []
    parameters = {"collection": known.id, "encoder": live.key, "most": most}
    async with database.session() as session:
        count = await session.scalar(_COUNT, {"collection": known.id, "most": most})
        # in one piece from the start: joining the parts would take the memory twice
        matrix = np.empty((count or 0, live.dim), np.float32)
        async for rows in vectors.stream(session, _COMPARED, parameters):
            rows = [row for row in rows if row[1] in places][: len(matrix) - len(ids)]
            if rows:
                wire = [row[2] for row in rows]
                part = matrix[len(ids) : len(ids) + len(rows)]
                part[:] = unit(await asyncio.to_thread(vectors.from_wire, wire, live.dim))
                ids += [row[0] for row in rows]
                labels += [places[row[1]] for row in rows]
    return _ComparedExamples(ids, np.array(labels, np.int64), matrix[: len(ids)])


def _name_pairs(alike: Pairs, compared: _ComparedExamples, head: Head, limit: int) -> list[NearDuplicate]:
    found = []
    for (row, other), cosine in zip(alike.rows[:limit].tolist(), alike.cosines.tolist(), strict=False):
        labels = head.labels[compared.labels[row]], head.labels[compared.labels[other]]
        # rounding may take the cosine of a vector with itself past 1
        found.append(NearDuplicate((compared.ids[row], compared.ids[other]), labels, min(cosine, 1.0)))
    return found


def _name_overlap(overlap: Overlap, head: Head) -> OverlappingLabels:
    first, second = (head.labels[place] for place in overlap.labels)
    similarity = None if np.isnan(overlap.across) else overlap.across
    if overlap.left_out:
        sentence = (
            f"Of {overlap.left_out} examples of '{first}' and '{second}' {overlap.confused} are predicted as the "
            "other one when they are left out."
        )
        return OverlappingLabels((first, second), overlap.confused / overlap.left_out, similarity, sentence)
    sentence = (
        f"Examples of '{first}' are as like those of '{second}' (a similarity of {overlap.across:.2f} on average) as "
        f"two of the same label are like one another ({overlap.within:.2f})."
    )
    return OverlappingLabels((first, second), None, similarity, sentence)


async def _find_examples(
    database: Database,
    known: KnownCollection,
    head: Head,
    live: ServedEncoder,
    suspects: tuple[Suspect, ...],
) -> list[SuspectExample]:
    """The rows of the suspects, in the same order; several where the same vector was taught several times."""
    ids: defaultdict[_Key, list[uuid.UUID]] = defaultdict(list)
    wanted = {(head.labels[suspect.label], suspect.key) for suspect in suspects}
    if wanted:
        parameters = {
            "collection": known.id,
            "encoder": live.key,
            "labels": sorted({label for label, _ in wanted}),
        }
        async with database.session() as session:
            async for rows in vectors.stream(session, _VECTORS, parameters):
                names, wire = [row[1] for row in rows], [row[2] for row in rows]
                keys = await asyncio.to_thread(_keys, names, wire, live.dim)
                for row, key in zip(rows, keys, strict=True):
                    if key in wanted:
                        ids[key].append(row[0])
    return [
        SuspectExample(example_id, head.labels[suspect.label], head.labels[suspect.told], suspect.right)
        for suspect in suspects
        for example_id in sorted(ids[head.labels[suspect.label], suspect.key])
    ]


def _keys(names: list[str], wire: list[bytes], dim: int) -> list[_Key]:
    rows: NDArray[np.float32] = unit(vectors.from_wire(wire, dim))
    return [(name, vector_key(row)) for name, row in zip(names, rows, strict=True)]


def _notes(health: HealthReport, head: Head) -> Iterable[str]:
    """What the figures leave out."""
    median = float(np.median(head.counts))
    if len(head.labels) < 2:
        yield "With a single label no example can be found wrong: teach a second one."
    elif median < ENOUGH:
        yield (
            f"The labels have a median of {median:g} different examples; from {ENOUGH} on each is left out in turn, to "
            "see what the others say of it."
        )
    elif np.isnan(head.recalls).any():
        yield (
            f"{int(np.isnan(head.recalls).sum())} of {len(head.labels)} labels have a single example: left out, "
            "nothing would be known of its label, so that it is never suspect."
        )
    if 0 < health.examined < health.examples:
        yield (
            f"Of {health.examples} examples {health.examined} different ones were left out in turn: equal images "
            "count once, and of a large collection as many of each label as of the others, at most "
            f"{CORE:,} in all."
        )
    if len(health.suspects) < health.suspects_total:
        yield f"Shown are {len(health.suspects)} of {health.suspects_total} suspects; a higher limit shows more."
    if len(health.labels) < health.labels_total:
        yield f"Shown are {len(health.labels)} of {health.labels_total} labels; a higher limit shows more."


def _notes_of_comparing(health: HealthReport, compared: _ComparedExamples, alike: Pairs) -> Iterable[str]:
    """What near-duplicates and overlapping labels leave out."""
    if len(compared.ids) < health.examples:
        yield (
            f"Near-duplicates were looked for among {len(compared.ids):,} of {health.examples:,} examples "
            "(VISION_MAX_COMPARED_EXAMPLES sets how many)."
        )
    if not alike.is_whole:
        yield (
            f"More than {MAX_PAIRS:,} pairs are near-duplicates: the search ended there, and examples may be missing "
            "from them."
        )
    for what, shown, total in (
        ("near-duplicates", len(health.near_duplicates), health.near_duplicates_total),
        ("overlapping labels", len(health.overlapping_labels), health.overlapping_labels_total),
        ("small labels", len(health.small_labels), health.small_labels_total),
    ):
        if shown < total:
            yield f"Shown are {shown} of {total} {what}; a higher limit shows more."
