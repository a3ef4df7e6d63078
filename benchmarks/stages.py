"""CPU milliseconds of one classify by stage, as the service itself counts them, and all that its processes take."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from rich.table import Table

from benchmarks.driving import cpu_seconds, describe_lost, measure_serving
from tests.live import Live

STAGES = ("receive", "decode", "preprocess", "forward", "score", "reply")
REST = "all else"
TOTAL = "all processes"
_SERIES = re.compile(r'^vision_stage_cpu_seconds_total\{stage="(\w+)"\} (\S+)$', re.MULTILINE)


def read_counted(live: Live) -> dict[str, float]:
    """CPU seconds of each stage so far; empty where the service does not count them."""
    text = httpx.get(f"{live.url}/metrics", timeout=30).text
    return {stage: float(value) for stage, value in _SERIES.findall(text)}


def stage_costs(live: Live, folder: Path, clients: int, seconds: float) -> dict[str, float]:
    """CPU milliseconds a request: of each stage, of all processes together, and of what no stage has counted.

    `VISION_STAGE_CPU=true` counts them, and `VISION_THREADS=1` makes them whole: threads that a model's runtime starts
    itself are no stage's.
    """
    before, spent = read_counted(live), cpu_seconds(live)
    found = measure_serving(live, folder, clients, seconds)
    spent, after = cpu_seconds(live) - spent, read_counted(live)
    if unanswered := describe_lost(found):
        raise RuntimeError(f"at {clients} clients: {unanswered}")
    costs = {
        stage: 1e3 * (after[stage] - before[stage]) / found["count"] for stage in STAGES if stage in after
    }
    total = 1e3 * spent / found["count"]
    return costs | {REST: total - sum(costs.values()), TOTAL: total}


def stage_table(costs: dict[int, dict[str, float]]) -> Table:
    """A row a stage, a column for each number of clients."""
    table = Table("stage", *(f"{n} clients" for n in costs), title="CPU ms a classify", box=None)
    for stage in next(iter(costs.values())):
        table.add_row(stage, *(f"{column[stage]:.2f}" for column in costs.values()))
    return table
