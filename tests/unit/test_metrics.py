"""The series of `/metrics` stay few, whatever comes and goes."""

from __future__ import annotations

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
