"""What the batcher and the registry tell whoever measures them: running totals, and calls as things happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class BatchObserver(Protocol):
    """Called in the batcher's thread or the submitter's; must be quick. What it raises is logged, no more."""

    def batch_ran(
        self, model: str, group: str, waits_s: Sequence[float], run_s: float, queue_depth: int
    ) -> None:
        """A batch of `len(waits_s)` items ran for `run_s` seconds; `queue_depth` items wait behind it."""

    def image_prepared(self, model: str, decode_s: float, preprocess_s: float) -> None:
        """An image was decoded (0 s when it came decoded) and made into pixels; called in the decode pool."""

    def items_dropped(self, model: str, reason: str, count: int) -> None:
        """Items left before they reached the device: `full`, `expired` or `cancelled`."""


class ModelObserver(BatchObserver, Protocol):
    """Also told which models come and go."""

    def model_loaded(self, model: str, load_s: float, memory_bytes: int) -> None:
        """A model is live, warm-up included."""

    def model_load_failed(self, model: str, reason: str) -> None:
        """A model could not be loaded; `reason` is the name of the error."""

    def model_unloaded(self, model: str) -> None:
        """A model's memory was given back."""


@dataclass(slots=True)
class BatcherStats:
    """A batcher's totals since it started; times in seconds."""

    queue_depth: int = 0
    max_batch: int = 0
    batches: int = 0
    items: int = 0
    largest_batch: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0
    dropped: int = 0
    out_of_memory: int = 0
