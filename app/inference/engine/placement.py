"""Which of several engines does a piece of work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from app.inference.sources import Kind, slug

Placement = Literal["replicate", "spread"]
"""`replicate`: every engine has every model, and the least busy one is asked. `spread`: each model is on one engine."""


class PlacedEngine(Protocol):
    """An engine as one front end sees it."""

    endpoint: str
    chosen: int
    """Number of the last choice that fell on it, so that equals take turns."""

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked."""

    @property
    def outstanding(self) -> int:
        """Requests of this front end that it has not answered."""


E = TypeVar("E", bound=PlacedEngine)


def choose_engine(engines: Sequence[E], placement: Placement, kind: Kind, word: str) -> E | None:
    """The engine for the model that the word means, None where none that may serve it is there.

    `spread` keeps to the engine of a model while that is away: another would load the model for a few seconds.
    """
    if placement == "spread":
        name = slug(word.rpartition("/")[2])  # a hub id and the name that it is served by mean one model
        owner = max(engines, key=lambda engine: _weight(Path(engine.endpoint).name, kind, name))
        return owner if owner.is_connected else None
    connected = [engine for engine in engines if engine.is_connected]
    return min(connected, key=lambda engine: (engine.outstanding, engine.chosen), default=None)


def _weight(engine: str, kind: Kind, name: str) -> bytes:
    """Rendezvous hashing (Thaler and Ravishankar 1998): an engine more or less moves only its own share of models. An
    engine is known by the name of its socket, whose folder is another one after each start.
    """
    return hashlib.sha256(f"{engine}\0{kind}\0{name}".encode()).digest()
