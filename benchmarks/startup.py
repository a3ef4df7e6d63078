"""Seconds and CPU seconds from `vision serve` to its first ready answer, of one or several working trees in turn.

    python -m benchmarks.startup --rounds 5 --tree before=/path/to/one --tree after=/path/to/other

The first start of each tree sets its data folder up and is not counted.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import psutil

from tests.live import environment, free_port

POLL_SECONDS = 0.02
MAX_START_SECONDS = 300.0


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of all that it started, ended children included."""
    seconds = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def answers(port: int, path: str) -> bool:
    """Whether the service answers 2xx there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start(tree: Path, data_dir: Path) -> dict[str, float]:
    """One start of the service in `tree`, stopped again: what it took."""
    port = free_port()
    command = [str(tree / ".venv/bin/vision"), "serve", "--port", str(port), "--data-dir", str(data_dir)]
    log = data_dir.with_suffix(".log")
    begun = time.perf_counter()
    with log.open("ab") as sink:
        service = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment(), cwd=tree
        )
    process, took = psutil.Process(service.pid), {}
    try:
        for name, path in (("answers", "/healthz"), ("ready", "/readyz")):
            while not answers(port, path):
                if service.poll() is not None or time.perf_counter() - begun > MAX_START_SECONDS:
                    raise SystemExit(f"{tree} did not start:\n{log.read_text()[-3000:]}")
                time.sleep(POLL_SECONDS)
            took[name] = time.perf_counter() - begun
        took["CPU"] = cpu_seconds(process)
        members = (process, *process.children(recursive=True))
        took["MiB"] = sum(member.memory_full_info().pss for member in members) / 2**20
        return took
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)


def main() -> None:
    """Print a line a start, then the medians."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--tree", action="append", metavar="NAME=FOLDER", help="this one, unless given")
    given = words.parse_args()
    trees = dict(word.split("=", 1) for word in given.tree or [f"here={os.getcwd()}"])
    folder = Path(tempfile.mkdtemp(prefix="startup-"))
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    try:
        for number in range(given.rounds + 1):
            for name, tree in trees.items():
                took = start(Path(tree), folder / name)
                told = "  ".join(f"{what} {value:.2f}" for what, value in took.items())
                print(f"{'set-up' if number == 0 else f'start {number}'}  {name:10} {told}", flush=True)
                if number:
                    found[name].append(took)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, starts in found.items():
        told = "  ".join(f"{what} {median(start[what] for start in starts):.2f}" for what in starts[0])
        print(f"median   {name:10} {told}")


if __name__ == "__main__":
    main()
