"""How much memory live models take together, where some of them share a base."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Base(Protocol):
    """Weights that several models may share (`shared_bases.SharedBase`)."""

    @property
    def memory_bytes(self) -> int:
        """All that they take, however many share them."""


class Holder(Protocol):
    """A live model."""

    @property
    def memory_bytes(self) -> int:
        """All that it takes, what it shares included."""

    @property
    def bases(self) -> Sequence[Base]:
        """The bases that it shares with others."""


def charge_models(live: Mapping[Key, Holder]) -> dict[Key, int]:
    """Bytes by model, a shared base charged to one of its holders: the smallest, which is the bare base itself
    where it is live. So they add up to what is really in memory.
    """
    own = {
        key: model.memory_bytes - sum(base.memory_bytes for base in model.bases)
        for key, model in live.items()
    }
    total = dict(own)
    seen: set[int] = set()
    for key in sorted(live, key=lambda key: own[key]):
        for base in live[key].bases:
            if id(base) not in seen:
                seen.add(id(base))
                total[key] += base.memory_bytes
    return total
