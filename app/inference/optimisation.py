"""What was asked of a model's speed and what was measured of it, as people and the catalog see it."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
LEVELS = ("none", "basic", "standard", "aggressive")
"""From the plainest to the boldest; `auto` lets measuring choose and is none of them."""


@dataclass(frozen=True)
class Optimisation:
    """How a loaded model runs, against float32 torch without any tricks."""

    asked: str
    """`auto` or one of `LEVELS`, as the settings say."""
    level: str
    """The one of `LEVELS` that runs: lower than asked where a level was refused or is not there."""
    speed_up: float | None = None
    """How many times as fast as eager float32 torch on the same 8 images (or prompts); None where not measured."""
    parity: float | None = None
    """Least cosine to eager float32 torch over the parity images; for vision-language models the share of equal
    tokens. None where not measured."""
    note: str | None = None
    """What there is to know: what was refused, what changes nothing, what is slower than the level below."""


def up_to(level: str) -> tuple[str, ...]:
    """The levels from `none` to this one."""
    return LEVELS[: LEVELS.index(level) + 1]
