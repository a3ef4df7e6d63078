"""What may be wrong with a collection's examples, as its head knows from leaving each out."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.collections import listing, vectors
from app.collections.directory import KnownCollection
from app.heads import Head
from app.heads.gathering import CORE
from app.heads.noise import Suspect
from app.heads.novelty import ENOUGH
from app.heads.supports import vector_key
from app.heads.types import unit
from app.inference.engine.interface import ServedEncoder
from app.storage.database import Database

# A head knows examples by their vectors alone, so those of the labels in question are read once more.
_VECTORS = (
    "SELECT e.id, l.name, v.vector FROM example_vectors v JOIN examples e ON e.id = v.example_id "
    "JOIN labels l ON l.id = e.label_id WHERE v.collection_id = %(collection)s AND v.encoder = %(encoder)s "
    "AND l.name = ANY(%(labels)s)"
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
class LabelState:
    """How well one label is learned."""

    label: str
    examples: int
    recall: float | None
    """Share of its examples that are told right when left out."""


@dataclass(frozen=True)
class Health:
    """What an examination found."""

    examples: int
    examined: int
    suspects: list[SuspectExample] = field(default_factory=list)
    suspects_total: int = 0
    labels: list[LabelState] = field(default_factory=list)
    labels_total: int = 0
    notes: list[str] = field(default_factory=list)


async def examine(
    database: Database, known: KnownCollection, head: Head | None, live: ServedEncoder, limit: int
) -> Health:
    """At most `limit` suspects, and as many labels, of a collection whose head is `head`, None without any example.

    An example that was forgotten after the head was fitted is left out.
    """
    async with database.session() as session:
        counts = await listing.count_labels(session, known.id)
    if head is None:
        return Health(sum(counts.values()), 0, notes=["Nothing was taught yet."])
    suspects = await _find_examples(database, known, head, live, head.suspects[:limit])
    recalls = dict(zip(head.labels, head.recalls.tolist(), strict=True))
    labels = [
        LabelState(label, count, None if np.isnan(recalls.get(label, np.nan)) else recalls[label])
        for label, count in counts.items()
    ]
    labels.sort(key=lambda state: (state.recall is None, state.recall or 0.0, state.examples, state.label))
    health = Health(
        examples=sum(counts.values()),
        examined=int(head.left_out.sum()),
        suspects=suspects[:limit],
        suspects_total=len(head.suspects),
        labels=labels[:limit],
        labels_total=len(labels),
    )
    health.notes.extend(_notes(health, head))
    return health


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


def _notes(health: Health, head: Head) -> Iterable[str]:
    """What the figures leave out."""
    median = float(np.median(head.counts))
    if len(head.labels) < 2:
        yield "With a single label no example can be told wrong: teach a second one."
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
