"""The description of a training method, without the code that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.methods.params import Params
from app.methods.tasks import BaseKind, Task


@dataclass(frozen=True)
class Method:
    """A training method, called like its module here and like the folder of its code in `workers.methods`."""

    params: type[Params]
    learns: Mapping[BaseKind, frozenset[Task]]
    """The kinds of base models that it trains, and what each can learn by it."""
    trains: str
    """Which weights it changes, for docs/training.md."""
    meant_for: str
    """When to choose it, likewise."""
    strength: str | None = None
    """A sentence for strategies in short that name no strength of their own."""
    gains_from_gpu: bool = False
    position: int = 1_000
    """Its place where methods are listed; those of one place stand by name."""
