"""kill -9 while examples are written: nothing that was answered 201 is lost, nothing is half there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.live import Live, launch, serving
from tests.photos import encode_photo

WRITERS = 6
PATH = "/v1/collections/default/examples"


def picture(seed: int) -> bytes:
    """A distinct small image."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return encode_photo(Image.fromarray(blocks).resize((96, 96)), "PNG")


class Writers:
    """Threads that teach until the service stops answering; they remember every 201."""

    def __init__(self, live: Live, first_seed: int) -> None:
        self.answered: dict[str, str] = {}
        self._live = live
        self._threads = [
            threading.Thread(target=self._write, args=(first_seed + index * 10_000,))
            for index in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, seed: int) -> None:
        with self._live.client() as client:
            while True:
                label = f"label {seed % 5}"
                try:
                    reply = client.post(PATH, data={"label": label}, files={"images": picture(seed)})
                except httpx.HTTPError:
                    return
                if reply.status_code == 201:
                    self.answered[reply.json()["data"][0]["id"]] = label
                seed += 1

    def join(self) -> None:
        """Wait for all; raises when one is stuck."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request never ended"


def read_stored_labels(client: httpx.Client) -> dict[str, str]:
    """Every example's label by id."""
    rows: dict[str, str] = {}
    query: dict[str, str] = {}
    while True:
        page = client.get(PATH, params=query).raise_for_status().json()
        rows |= {row["id"]: row["label"] for row in page["data"]}
        if not page["next"]:
            return rows
        query = {"cursor": page["next"]}


@pytest.mark.slow
def test_every_answered_example_survives_whole(tmp_path: Path) -> None:
    answered: dict[str, str] = {}
    for round_ in range(2):
        live = launch(tmp_path / "data")
        live.wait_until_ready()
        writers = Writers(live, first_seed=round_ * 1_000_000)
        deadline = time.monotonic() + 30
        while len(writers.answered) < 30 * (round_ + 1) and time.monotonic() < deadline:
            time.sleep(0.005)
        live.process.kill()
        live.process.wait(60)
        writers.join()
        assert writers.answered
        answered |= writers.answered

    with serving(tmp_path / "data") as again, again.client() as client:
        rows = read_stored_labels(client)
        assert answered.items() <= rows.items()
        for example in rows:  # the blob is there and is an image
            shown = client.get(f"{PATH}/{example}/image")
            assert shown.status_code == 200
            assert shown.headers["content-type"].startswith("image/")
        # every row has its vector and label: the counts agree, and a search finds each
        counts = client.get("/v1/collections/default/labels").raise_for_status().json()["data"]
        assert sum(row["examples"] for row in counts) == len(rows)
        vectors = client.post(
            "/v1/search", data={"collection": "default", "top_k": 100}, files={"image": picture(0)}
        )
        assert len(vectors.raise_for_status().json()["data"]) == min(100, len(rows))
        reply = client.post("/v1/classify", files={"image": picture(0)}).raise_for_status().json()
        assert len(reply["scores"]) == len(counts)
