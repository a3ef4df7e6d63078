"""What benchmarks of the running service share: teaching it, loading it, and reading what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pictures import pictures
from tests.live import Live

MIB = 1024 * 1024


def teach(live: Live, labels: int = 10) -> None:
    """An example of each label, so that classifying does all that it usually does."""
    with live.client() as client:
        for index, data in enumerate(pictures(labels)):
            path, form = "/v1/collections/default/examples", {"label": f"label {index}"}
            client.post(path, data=form, files={"images": data}).raise_for_status()


def measure_serving(live: Live, folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """What the load generator measures with the pictures of a folder, as a process of its own (`benchmarks.load`)."""
    words = ["127.0.0.1", str(live.port), "/v1/classify", str(folder), str(clients), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.load", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def describe_lost(found: dict[str, Any]) -> str:
    """Requests of a load that were not answered with 200, in words; empty where all were."""
    counts = {name: found[name] for name in ("refused", "failed", "unanswered") if found[name]}
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def memory_mb(live: Live) -> float:
    """Memory of the service and its embedded servers; what they share counts once (PSS)."""
    return sum(_pss(pid) for pid in live.family()) / MIB


def cpu_seconds(live: Live) -> float:
    """CPU time of the service and of everything it started, so far."""
    return processes_cpu_seconds(live.family())


def processes_cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of those processes that still run, so far."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def _pss(pid: int) -> int:
    with suppress(psutil.Error):
        found = psutil.Process(pid).memory_full_info()
        return int(getattr(found, "pss", found.rss))
    return 0
