"""What clients do during a storm, and the ledger of what they were told."""

from __future__ import annotations

import io
import random
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster import Cluster
from tests.faults.test_kill import picture

EXAMPLES = "/v1/collections/storm/examples"
WRITERS = 2
DATASET_IMAGES = 30


@dataclass
class Ledger:
    """What clients were told."""

    taught: dict[str, str] = field(default_factory=dict)
    """Label of each example that was answered 201, by id."""
    forgotten: set[str] = field(default_factory=set)
    """Ids whose removal was answered 204."""
    perhaps: set[str] = field(default_factory=set)
    """Ids whose removal was sent and not answered."""
    sent: Counter[str] = field(default_factory=Counter)
    """How often each label, of one image only, was sent."""
    jobs: dict[str, str] = field(default_factory=dict)
    """Kind of each job that was answered 202, by id."""
    models: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


class Work:
    """Threads that teach, forget and queue jobs until they are told to stop."""

    def __init__(self, cluster: Cluster, ledger: Ledger, seed: int) -> None:
        self._cluster, self._ledger, self._lock = cluster, ledger, threading.Lock()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(step, random.Random(f"{seed} {number}")))
            for number, step in enumerate([self._write] * WRITERS + [self._queue])
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait for every request; raises what a thread met with."""
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "a request never ended"
        for failure in self._failures:
            raise failure

    def _run(self, step: Callable[[httpx.Client, random.Random], float], chance: random.Random) -> None:
        try:
            with httpx.Client(base_url=self._cluster.api.url, timeout=60) as client:
                while not self._stop.is_set():
                    self._stop.wait(step(client, chance))
        except BaseException as failure:
            self._failures.append(failure)

    def _send(self, client: httpx.Client, method: str, path: str, **words: Any) -> httpx.Response | None:
        """None where nobody answered, or a fault was the answer; anything else that is refused is a defect."""
        try:
            reply = client.request(method, path, **words)
        except httpx.HTTPError as error:
            with self._lock:
                self._ledger.refusals[type(error).__name__] += 1
            return None
        if reply.is_success:
            return reply
        code = reply.json()["error"]["code"]
        with self._lock:
            self._ledger.refusals[f"{reply.status_code} {code}"] += 1
        assert reply.status_code in {409, 429, 503, 507}, (method, path, reply.status_code, reply.text)
        return None

    def _write(self, client: httpx.Client, chance: random.Random) -> float:
        ledger = self._ledger
        if ledger.taught and chance.random() < 0.2:
            with self._lock:
                example = chance.choice(sorted(ledger.taught))
                ledger.taught.pop(example)
                ledger.perhaps.add(example)
            if self._send(client, "DELETE", f"{EXAMPLES}/{example}") is not None:
                with self._lock:
                    ledger.perhaps.discard(example)
                    ledger.forgotten.add(example)
            return 0.1
        number = chance.randrange(10**9)
        label = f"label {number}"
        with self._lock:
            ledger.sent[label] += 1
        files = {"images": picture(number)}
        reply = self._send(client, "POST", EXAMPLES, data={"label": label}, files=files)
        if reply is not None:
            with self._lock:
                ledger.taught[reply.json()["data"][0]["id"]] = label
        return 0.1

    def _queue(self, client: httpx.Client, chance: random.Random) -> float:
        ledger = self._ledger
        kind = chance.choice(["train", "prepare", "evaluate", "export"])
        if kind == "train":
            params = {"steps": 120, "checkpoint_every": 20, "evaluate_every": 120, "augment": False}
            body = {"strategy": "prototypical_fewshot", "base_model": "lite", "params": params}
            body["name"] = f"model-{chance.randrange(10**9)}"
            headers = {"Idempotency-Key": body["name"]}
            reply = self._send(client, "POST", "/v1/jobs", json=body, headers=headers)
        elif kind == "prepare":
            archive = {"archive": archive_of(chance)}
            reply = self._send(client, "POST", "/v1/datasets", files=archive)
        else:
            ready = self._send(client, "GET", "/v1/models", params={"trained": "true"})
            names = [model["id"] for model in ready.json()["data"] if model["trained"]] if ready else []
            if not names:
                return 0.2
            asked = {"format": "safetensors"} if kind == "export" else {"collection": "default"}
            reply = self._send(client, "POST", f"/v1/models/{chance.choice(names)}/{kind}", json=asked)
        if reply is not None:
            with self._lock:
                told = reply.json()
                ledger.jobs[told["job"] if kind == "prepare" else told["id"]] = kind
        return chance.uniform(2, 5)


def archive_of(chance: random.Random) -> bytes:
    """A dataset of two labels with images no other has."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for number in range(DATASET_IMAGES):
            packed.writestr(f"{'ab'[number % 2]}/{number}.png", picture(chance.randrange(10**9)))
    return out.getvalue()
