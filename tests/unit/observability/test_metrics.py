"""The series of `/metrics` stay few, whatever comes and goes."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from app.observability.metrics import Metrics, ModelGauge
from tests.disks import small_disk


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


SHARED = """
import os, sys
from pathlib import Path
from app.observability.metrics import Metrics, ModelGauge
from app.observability.shared_metrics import SharedMetrics
metrics = Metrics(2, SharedMetrics(Path(sys.argv[1]), sys.argv[2]))
for model in sys.argv[3:]:
    metrics.observe_batch(model, 2)
    metrics.observe_request("/v1/classify", "POST", 200, 0.01)
sys.stdout.write(metrics.exposition([ModelGauge("lite", 3, 5)]).decode())
"""


def count_in_process(folder: Path, name: str, *models: str) -> str:
    """What a process of that name shows after it counted for these models."""
    words = [sys.executable, "-c", SHARED, str(folder), name, *models]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def test_processes_count_together_and_go_on_when_started_again(tmp_path: Path) -> None:
    count_in_process(tmp_path, "engine-0", "lite", "clip")
    count_in_process(tmp_path, "engine-1", "lite")
    shown = count_in_process(tmp_path, "engine-0", "lite", "third")
    assert 'vision_batch_size_sum{model="lite"} 6.0' in shown
    assert 'vision_batch_size_sum{model="clip"} 2.0' in shown
    assert 'vision_batch_size_sum{model="other"} 2.0' in shown, "no series can be dropped"
    assert "third" not in shown
    assert 'status="200"} 5.0' in shown
    assert 'vision_queue_depth{model="lite"} 3.0' in shown
    # one has ended, and its figures are not somebody else's
    assert 'process_open_fds{process="engine-0"}' in shown
    assert 'process="engine-1"' not in shown


FULL = """
import sys
from pathlib import Path
from app.observability.metrics import Metrics
from app.observability.shared_metrics import SharedMetrics
from app.storage.tallies import Tallies
folder = Path(sys.argv[1])
(folder / "metrics").mkdir()
tallies = Tallies.create(folder / "tallies", 18)
shared = SharedMetrics(folder / "metrics", "front-end-0")
metrics = Metrics(2, shared)
SharedMetrics(folder / "metrics", "engine-0").begin()
sys.stdout.write("full?\\n"); sys.stdout.flush(); sys.stdin.readline()
for number in range(2000):
    metrics.observe_request(f"/v1/{number}", "GET", 200, 0.01)
    tallies.changes_of("default", str(number)).add(1)
shared.end()
shared.begin()  # as when it is started again
metrics.observe_waiting("images", 1)
metrics.exposition()
sys.stdout.write("room?\\n"); sys.stdout.flush(); sys.stdin.readline()
metrics.observe_request("/v1/1999", "GET", 200, 0.01)
sys.stdout.write(metrics.exposition().decode())
"""


@pytest.mark.slow
def test_a_process_outlives_a_disk_without_one_byte_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if not disk.own:
            pytest.skip("a disk that is everybody's is not filled to its last byte")
        words = [sys.executable, "-c", FULL, str(disk.folder)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "full?\n"
            disk.fill(0)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "room?\n", process.wait(60)
            disk.clear()
            shown, _ = process.communicate("\n", timeout=60)
        assert process.returncode == 0
        assert 'route="/v1/0",status="200"} 1.0' in shown
        assert 'route="/v1/1999",status="200"} 2.0' in shown, (
            "what found no room is counted once there is some"
        )


def cpu_seconds(metrics: Metrics, stage: str) -> float:
    line = f'vision_stage_cpu_seconds_total{{stage="{stage}"}} '
    (found,) = [row for row in metrics.exposition().decode().splitlines() if row.startswith(line)]
    return float(found.removeprefix(line))


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_counts_the_work_of_its_own_thread_and_no_waiting() -> None:
    metrics = Metrics(stage_cpu=True)
    clock = []

    def prepare() -> None:
        clock.append(time.thread_time())
        metrics.cpu.begin()
        burn(0.05)
        metrics.observe_stage("decode", 60.0)  # by the clock it took far longer: others had the core
        clock.append(time.thread_time())
        burn(0.02)
        metrics.observe_stage("preprocess", 60.0)
        clock.append(time.thread_time())
        threading.Event().wait(0.1)
        metrics.observe_stage("forward", 60.0)
        clock.append(time.thread_time())

    worker = threading.Thread(target=prepare)
    gc.disable()  # a search for garbage would be work of whichever thread it falls to
    try:
        worker.start()
        burn(0.1)
        worker.join()
    finally:
        gc.enable()
    # the system adds what it did meanwhile to the time of a thread: compared with what the thread itself reads
    found = [cpu_seconds(metrics, stage) for stage in ("decode", "preprocess", "forward")]
    assert found == pytest.approx([later - earlier for earlier, later in pairwise(clock)], abs=0.005)
    assert found[0] >= 0.05
    assert found[1] >= 0.02


def test_what_a_thread_did_between_stages_counts_no_more_than_the_stage_took() -> None:
    metrics = Metrics(stage_cpu=True)
    metrics.cpu.begin()
    burn(0.1)
    metrics.observe_stage("queue", 5.0)  # waiting is no work
    metrics.observe_stage("head", 0.01)
    assert cpu_seconds(metrics, "score") == 0.01
