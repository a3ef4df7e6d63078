"""The five things a key may allow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Scope = Literal["recognise", "learn", "train", "metrics", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))


def allows(held: Iterable[str], wanted: Scope) -> bool:
    """Whether a key with the scopes `held` may do what needs `wanted`."""
    held = set(held)
    return wanted in held or "admin" in held
