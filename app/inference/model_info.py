"""A model as people and the catalog see it, loaded or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from app.inference.domain import domain_of
from app.inference.live import LiveEncoder
from app.inference.live_vlm import LiveVlm
from app.inference.observing import BatcherStats
from app.inference.optimisation import Optimisation
from app.inference.sources import EncoderSource, Kind


@dataclass(frozen=True)
class ModelInfo:
    """What only a loaded model knows is None before."""

    name: str
    family: str
    aliases: tuple[str, ...]
    default: bool
    kind: Kind = "encoder"
    tasks: tuple[str, ...] | None = None
    """What a vision-language model does: `vqa`, `caption`."""
    knows: str | None = None
    """Completes "it knows only ..." where a model carries a domain (`app.inference.domain`)."""
    live: bool = False
    dim: int | None = None
    input_size: int | None = None
    memory_bytes: int | None = None
    runtime: str | None = None
    fingerprint: str | None = None
    optimisation: Optimisation | None = None
    users: int = 0
    """Requests using it right now."""
    batches: BatcherStats | None = None


def describe(
    kind: Kind,
    source: EncoderSource,
    live: LiveEncoder | LiveVlm | None,
    *,
    default: bool,
    users: int,
    declared: Callable[[EncoderSource], frozenset[str] | None],
) -> ModelInfo:
    """What is known of a model; `live` is it in memory, or None. `declared` reads the tasks of one that is not."""
    domain = domain_of(source)
    knows = None if domain is None else domain.knows
    info = ModelInfo(source.name, source.family, source.aliases, default, kind, knows=knows)
    if live is None:
        if kind == "vlm":
            tasks = declared(source)
            info = replace(info, tasks=None if tasks is None else tuple(sorted(tasks)))
        return info
    info = replace(
        info,
        live=True,
        family=live.family,
        runtime=live.runtime,
        memory_bytes=live.memory_bytes,
        users=users,
        batches=live.stats(),
    )
    if isinstance(live, LiveVlm):
        return replace(info, tasks=tuple(sorted(live.tasks)), optimisation=live.optimisation)
    return replace(
        info,
        optimisation=live.optimisation,
        dim=live.dim,
        input_size=live.input_size,
        fingerprint=live.fingerprint,
    )
