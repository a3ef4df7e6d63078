"""What several engines know and hold, as one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import reduce
from typing import Any

from app.inference.model_info import ModelInfo
from app.inference.observing import BatcherStats

_MERGED_BY_MAX = {"max_batch", "largest_batch"}


def merge_models(lists: Sequence[Sequence[ModelInfo]]) -> list[ModelInfo]:
    """Each model once, in the order in which the lists name them, with what it takes and did on all engines."""
    if len(lists) == 1:
        return list(lists[0])
    found: dict[tuple[str, str, tuple[str, ...]], list[ModelInfo]] = {}
    for models in lists:
        for info in models:
            found.setdefault((info.kind, info.name, info.aliases), []).append(info)
    return [reduce(_merge, models) for models in found.values()]


def _merge(one: ModelInfo, other: ModelInfo) -> ModelInfo:
    if not (one.live and other.live):
        return other if other.live else one
    sizes = [size for size in (one.memory_bytes, other.memory_bytes) if size is not None]
    stats = [stats for stats in (one.batches, other.batches) if stats is not None]
    return replace(
        one,
        memory_bytes=sum(sizes) if sizes else None,
        users=one.users + other.users,
        batches=reduce(_add, stats) if stats else None,
    )


def _add(one: BatcherStats, other: BatcherStats) -> BatcherStats:
    values: dict[str, Any] = {
        field.name: (max if field.name in _MERGED_BY_MAX else _sum)(
            getattr(one, field.name), getattr(other, field.name)
        )
        for field in fields(BatcherStats)
    }
    return BatcherStats(**values)


def _sum(one: float, other: float) -> float:
    return one + other
