"""The numbers the service counts about itself, for Prometheus.

Each app has its own registry, and counts for itself or, as a front end or an engine, for a service of several
processes (`app.observability.shared_metrics`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.observability.shared_metrics import SharedMetrics
from app.observability.stage_cpu import StageCpu

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)
STAGES = ("decode", "preprocess", "queue", "forward", "head")
REVIEW_OUTCOMES = ("kept", "known", "surer", "refused", "dropped")
OTHER_MODELS = "other"
"""What further models are counted under where no series can be dropped."""


@dataclass(frozen=True)
class ModelGauge:
    """What one live model looks like at the moment of a scrape."""

    model: str
    queue_depth: int
    memory_bytes: int


class _Live(Collector):
    """Gauges of what is live at the moment of a scrape."""

    def __init__(self, models: Iterable[ModelGauge]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("vision_queue_depth", "Items waiting for a model.", labels=["model"])
        memory = GaugeMetricFamily("vision_model_memory_bytes", "Memory of a live model.", labels=["model"])
        for model in self._models:
            depth.add_metric([model.model], model.queue_depth)
            memory.add_metric([model.model], model.memory_bytes)
        yield depth
        yield memory


class Metrics:
    """Every metric of one app."""

    def __init__(
        self, max_models: int = 100, shared: SharedMetrics | None = None, *, stage_cpu: bool = False
    ) -> None:
        """At most `max_models` models have series of their own at a time. With `shared`, these are one process's part
        of a service's metrics.
        """
        self._max_models = max_models
        self._shared = shared
        self._models: OrderedDict[str, set[str]] = OrderedDict()
        """Models with series, the least recently used first, and the reasons their items were dropped for."""
        self._noting = threading.Lock()
        self.registry = self._open_registry()
        self.requests = Counter(
            "vision_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "vision_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "vision_stage_seconds",
            "Time one stage of recognising took.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "vision_batch_size",
            "Items in one forward pass.",
            ["model"],
            buckets=_BATCH,
            registry=self.registry,
        )
        self.dropped = Counter(
            "vision_dropped_items",
            "Items that left before they reached the device: queue full, expired or cancelled.",
            ["model", "reason"],
            registry=self.registry,
        )
        self.cache = Counter(
            "vision_embedding_cache", "Look-ups of cached embeddings.", ["outcome"], registry=self.registry
        )
        self.waiting = Gauge(
            "vision_waiting",
            "Images and questions that wait for their workspace's turn.",
            ["what"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._count_reviews()
        self.cpu = StageCpu(self.registry, is_on=stage_cpu)
        for stage in STAGES:
            self.stages.labels(stage)
        for outcome in ("hit", "miss"):
            self.cache.labels(outcome)

    def _count_reviews(self) -> None:
        self.review = Counter(
            "vision_review_pictures",
            "Unsure pictures for review: kept, known (kept or taught already), surer (than those that are kept),"
            " refused, and dropped because too many waited to be written.",
            ["outcome"],
            registry=self.registry,
        )
        self.decisions = Counter(
            "vision_review_decisions",
            "What people said of answers, by review or feedback; undone ones count as `undone` besides.",
            ["decision"],
            registry=self.registry,
        )
        for outcome in REVIEW_OUTCOMES:
            self.review.labels(outcome)

    def _open_registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        if self._shared is None:
            ProcessCollector(registry=registry)
        else:
            self._shared.begin()
            for model in self._shared.list_known_models():
                self._models[model] = set()
        return registry

    def observe_stage(self, stage: str, seconds: float) -> None:
        """One stage of one item or batch took `seconds`; `stage` is one of `STAGES`."""
        self.stages.labels(stage).observe(seconds)
        self.cpu.end(stage, seconds)

    def observe_batch(self, model: str, size: int) -> None:
        """One forward pass of `model` took `size` items."""
        with self._noting:
            model = self._name_model(model)
            self._note(model)
            self.batch_size.labels(model).observe(size)

    def observe_dropped(self, model: str, reason: str, count: int) -> None:
        """`count` items of `model` left its queue unserved."""
        with self._noting:
            model = self._name_model(model)
            self._note(model).add(reason)
            self.dropped.labels(model, reason).inc(count)

    def observe_waiting(self, what: Literal["images", "questions"], count: int) -> None:
        """So many of them wait in this process."""
        self.waiting.labels(what).set(count)

    def _name_model(self, model: str) -> str:
        """What the model is counted as: a series that several processes share cannot be dropped again."""
        if self._shared is None or model in self._models or len(self._models) < self._max_models:
            return model
        return OTHER_MODELS

    def _note(self, model: str) -> set[str]:
        """The reasons noted of a model that was just used; models beyond the limit lose their series.

        Prometheus takes a counter that begins again for one of a process that was started again.
        """
        reasons = self._models.setdefault(model, set())
        self._models.move_to_end(model)
        while self._shared is None and len(self._models) > self._max_models:
            oldest, dropped_for = self._models.popitem(last=False)
            with suppress(KeyError):  # it has only dropped items
                self.batch_size.remove(oldest)
            for reason in dropped_for:
                self.dropped.remove(oldest, reason)
        return reasons

    def observe_cache(self, *, hits: int = 0, misses: int = 0) -> None:
        """Embeddings found and not found in the cache."""
        if hits:
            self.cache.labels("hit").inc(hits)
        if misses:
            self.cache.labels("miss").inc(misses)

    def observe_review(self, outcome: str, count: int = 1) -> None:
        """What became of pictures that a collection was unsure of; `outcome` is one of `REVIEW_OUTCOMES`."""
        self.review.labels(outcome).inc(count)

    def observe_decision(self, decision: str, count: int = 1) -> None:
        """People said so of answers."""
        self.decisions.labels(decision).inc(count)

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request was answered (or left: 499); `route` is the template, never the path itself."""
        self.cpu.end("reply", seconds)
        self.requests.labels(route, method, str(status)).inc()
        self.latency.labels(route).observe(seconds)

    def exposition(self, live: Iterable[ModelGauge] = ()) -> bytes:
        """Everything, in Prometheus' text format; `live` tells of the models that are live now.

        Of several processes, what all of them counted.
        """
        registry = self.registry
        if self._shared is not None:
            registry = CollectorRegistry()
            self._shared.register(registry)
        gauges = CollectorRegistry()
        gauges.register(_Live(islice(live, self._max_models)))
        return generate_latest(registry) + generate_latest(gauges)
