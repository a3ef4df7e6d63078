"""Turns events of the batcher and the registry into metrics and log lines."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from app.observability.metrics import Metrics

log = structlog.get_logger("app.models")


class ModelMetrics:
    """A `app.inference.observing.ModelObserver` over one app's metrics; called from any thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def batch_ran(
        self, model: str, group: str, waits_s: Sequence[float], run_s: float, queue_depth: int
    ) -> None:
        """Counts the batch, each item's wait and the forward pass."""
        self._metrics.observe_batch(model, len(waits_s))
        for wait in waits_s:
            self._metrics.observe_stage("queue", wait)
        self._metrics.observe_stage("forward", run_s)

    def image_prepared(self, model: str, decode_s: float, preprocess_s: float) -> None:
        """Counts preprocessing; decoding is counted where it happens, since not every image is decoded for a model."""
        self._metrics.observe_stage("preprocess", preprocess_s)

    def items_dropped(self, model: str, reason: str, count: int) -> None:
        """Counts items that never reached the device."""
        self._metrics.observe_dropped(model, reason, count)

    def model_loaded(self, model: str, load_s: float, memory_bytes: int) -> None:
        """Logs the load."""
        log.info("model loaded", model=model, seconds=round(load_s, 2), mb=memory_bytes >> 20)

    def model_load_failed(self, model: str, reason: str) -> None:
        """Logs the failure."""
        log.warning("model could not be loaded", model=model, reason=reason)

    def model_unloaded(self, model: str) -> None:
        """Logs the unload."""
        log.info("model unloaded", model=model)
