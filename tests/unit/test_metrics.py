"""The series of `/metrics` stay few, whatever comes and goes."""

from __future__ import annotations

import threading
import time

from app.observability.metrics import Metrics, ModelGauge


def models_in(metrics: Metrics, name: str, *live: ModelGauge) -> set[str]:
    """The models that series of this name are shown for."""
    lines = [line for line in metrics.exposition(live).decode().splitlines() if line.startswith(name + "{")]
    return {line.partition('model="')[2].partition('"')[0] for line in lines}


def test_only_the_models_used_last_have_series() -> None:
    metrics = Metrics(max_models=3)
    for number in range(50):
        metrics.observe_batch("lite", 2)
        metrics.observe_batch(f"trained-{number}", 1)
        metrics.observe_dropped(f"trained-{number}", "expired", 1)
        metrics.observe_dropped(f"full-{number}", "queue full", 1)
    kept = {"lite", "trained-49", "full-49"}
    assert models_in(metrics, "vision_batch_size_count") == kept - {"full-49"}
    assert models_in(metrics, "vision_dropped_items_total") == kept - {"lite"}
    live = [ModelGauge(f"trained-{number}", 0, 1) for number in range(50)]
    assert len(models_in(metrics, "vision_queue_depth", *live)) == 3
    assert 'vision_batch_size_sum{model="lite"} 100.0' in metrics.exposition().decode()


def cpu_seconds(metrics: Metrics, stage: str) -> float:
    line = f'vision_stage_cpu_seconds_total{{stage="{stage}"}} '
    (found,) = [row for row in metrics.exposition().decode().splitlines() if row.startswith(line)]
    return float(found.removeprefix(line))


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_counts_the_work_of_its_own_thread_and_no_waiting() -> None:
    metrics = Metrics()

    def prepare() -> None:
        metrics.cpu.begin()
        burn(0.05)
        metrics.observe_stage("decode", 60.0)  # by the clock it took far longer: others had the core
        burn(0.02)
        metrics.observe_stage("preprocess", 60.0)
        threading.Event().wait(0.1)
        metrics.observe_stage("forward", 60.0)

    worker = threading.Thread(target=prepare)
    worker.start()
    burn(0.1)
    worker.join()
    assert 0.05 <= cpu_seconds(metrics, "decode") < 0.1
    assert 0.02 <= cpu_seconds(metrics, "preprocess") < 0.05
    assert cpu_seconds(metrics, "forward") < 0.01


def test_what_a_thread_did_between_stages_counts_no_more_than_the_stage_took() -> None:
    metrics = Metrics()
    metrics.cpu.begin()
    burn(0.1)
    metrics.observe_stage("queue", 5.0)  # waiting is no work
    metrics.observe_stage("head", 0.01)
    assert cpu_seconds(metrics, "score") == 0.01
