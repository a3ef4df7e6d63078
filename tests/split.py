"""A service of several processes under load: which they are, what kills them, and what clients saw of it.

Run by itself it is a long storm: `python -m tests.split --victim engine --seconds 120 --every 5`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from tests.cluster import until
from tests.live import Live, serving
from tests.photos import TAUGHT, damage_photo, encode_photo, photo

MAX_WAIT_SECONDS = 45.0
"""No request may take longer: the service's own deadline of 30 s, and a margin."""
SLOW_S = 8.0
"""Requests that take longer are listed: a start of what was killed is shorter."""
SPLIT = {"VISION_FRONT_ENDS": "2", "VISION_EMBEDDING_CACHE": "false", "VISION_LOG_FORMAT": "text"}


def processes(live: Live, kind: str = "") -> dict[str, psutil.Process]:
    """Those of the service that run right now, by name: `parent`, `front-end-N`, `engine-N`."""
    found = {}
    for file in live.data_dir.glob(f"run/*/metrics/{kind}*.pid"):
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int(file.read_text()))
            if process.status() != psutil.STATUS_ZOMBIE:
                found[file.stem] = process
    return found


def teach(live: Live) -> None:
    """Teach every photo its label."""
    with live.client() as client:
        for label, name in TAUGHT.items():
            files = {"images": encode_photo(photo(name))}
            reply = client.post("/v1/collections/default/examples", data={"label": label}, files=files)
            assert reply.status_code == 201, reply.text


class Load:
    """Clients that classify taught photos in a loop, each on a connection of its own; a block."""

    def __init__(self, live: Live, clients: int = 6) -> None:
        self.answers: Counter[str] = Counter()
        """By status; `broken` counts connections that ended without an answer."""
        self.wrong: list[str] = []
        self.slowest_s = 0.0
        self.slow: list[str] = []
        self._live = live
        self._images = [
            (label, image) for label, name in TAUGHT.items() for image in damage_photo(photo(name)).values()
        ]
        self._ending = threading.Event()
        self._noting = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(MAX_WAIT_SECONDS + 5)
            assert not thread.is_alive(), "a request never ended"

    def until_answered(self, more: int, deadline_s: float = 60) -> None:
        """Wait for so many further right answers."""
        goal = self.answers["200"] + more
        until(lambda: self.answers["200"] >= goal, deadline_s, f"no more answers: {self.answers}")

    def _ask(self, seed: int) -> None:
        dice = random.Random(seed)
        client = httpx.Client(base_url=self._live.url, timeout=MAX_WAIT_SECONDS)
        while not self._ending.is_set():
            label, image = dice.choice(self._images)
            began = time.monotonic()
            try:
                reply = client.post("/v1/classify", files={"image": image})
            except httpx.TransportError as error:
                outcome, wrong = "broken", ""
                if isinstance(error, httpx.TimeoutException):
                    wrong = f"stuck: {error!r}"
                elif time.monotonic() - began > SLOW_S:
                    self.slow.append(f"{error!r} after {time.monotonic() - began:.1f} s")
                client.close()
                client = httpx.Client(base_url=self._live.url, timeout=MAX_WAIT_SECONDS)
            else:
                outcome, wrong = str(reply.status_code), self._check(reply, label)
                if time.monotonic() - began > SLOW_S:
                    self.slow.append(f"{outcome} after {time.monotonic() - began:.1f} s {reply.text[:300]}")
            with self._noting:
                self.answers[outcome] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                if wrong:
                    self.wrong.append(wrong)
            if outcome != "200":
                self._ending.wait(0.05)
        client.close()

    @staticmethod
    def _check(reply: httpx.Response, label: str) -> str:
        if reply.status_code == 200:
            told = reply.json()["label"]
            return "" if told == label else f"{label} came back as {told}"
        if reply.status_code != 503:
            return f"{reply.status_code}: {reply.text[:200]}"
        return "" if "Retry-After" in reply.headers else "503 without Retry-After"


def storm(folder: Path, victim: str, seconds: float, every_s: float, clients: int) -> dict[str, object]:
    """Kill one of the victims each so many seconds under load; what clients saw."""
    with serving(folder / "data", **SPLIT) as live:
        teach(live)
        kills = 0
        dice = random.Random(0)
        with Load(live, clients) as load:
            load.until_answered(20)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(every_s)
                if found := list(processes(live, victim).values()):
                    dice.choice(found).kill()
                    kills += 1
            load.until_answered(20)
        return {
            "victim": victim,
            "kills": kills,
            "answers": dict(load.answers),
            "wrong": load.wrong[:20],
            "slow": load.slow[:20],
            "slowest_s": round(load.slowest_s, 1),
        }


def main() -> int:
    """Run one storm; 1 where anything was answered wrongly or got stuck."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--victim", choices=["engine", "front-end"], default="engine")
    words.add_argument("--seconds", type=float, default=120)
    words.add_argument("--every", type=float, default=5)
    words.add_argument("--clients", type=int, default=8)
    chosen = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = storm(Path(folder), chosen.victim, chosen.seconds, chosen.every, chosen.clients)
    sys.stdout.write(json.dumps(seen, indent=2) + "\n")
    return bool(seen["wrong"])


if __name__ == "__main__":
    sys.exit(main())
