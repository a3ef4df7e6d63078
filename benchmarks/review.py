"""What reviewing costs: a page of the queue, a decision and an undo, over HTTP against a collection of many examples.

Run `python -m benchmarks.review`. The examples are synthetic vectors around random centres; the pictures that are
reviewed are real uploads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx
import numpy as np
from PIL import Image

from app.embedded import EmbeddedServers
from benchmarks.stored import copy_examples
from tests.live import Live, serving
from tests.photos import encode_photo

COLLECTION = "many"
PATH = f"/v1/collections/{COLLECTION}"
PAGE = 50
UNDO_EVERY = 10


def main() -> None:
    """Print milliseconds: median and 95th percentile of each call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--pictures", type=int, default=500)
    given = parser.parse_args()
    took: defaultdict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        # the synthetic examples tell nothing of real pictures: all count as unsure
        serving(Path(folder) / "data", VISION_REVIEW_MAX_MARGIN="1") as live,
        live.client() as client,
    ):
        client.timeout = httpx.Timeout(600)
        prepare(live, given.examples)
        fill(client, given.pictures, took)
        review(client, took)
    for name, seconds in took.items():
        high = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        print(
            f"{name:28} {len(seconds):5} x  median {1e3 * median(seconds):7.1f} ms  95 % {1e3 * high:7.1f} ms"
        )


def prepare(live: Live, examples: int) -> None:
    """Make the collection and its examples."""
    with live.client() as client:
        client.post("/v1/collections", json={"name": COLLECTION}).raise_for_status()
        form, files = {"label": "label 0"}, {"images": picture(0)}
        client.post(f"{PATH}/examples", data=form, files=files).raise_for_status()
    servers = EmbeddedServers(live.data_dir)
    try:
        copy_examples(servers.start().database_url, COLLECTION, examples)
    finally:
        servers.stop()
    time.sleep(2)  # the service looks at versions every second


def picture(seed: int) -> bytes:
    """Four by four blocks of random colours."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return encode_photo(Image.fromarray(blocks).resize((160, 160)), "JPEG")


def fill(client: httpx.Client, pictures: int, took: dict[str, list[float]]) -> None:
    """Classify without and with review, until so many pictures are kept."""
    for seed in range(100):
        with timed(took, "classify, review off"):
            classify(client, 1_000 + seed)
    client.patch(PATH, json={"review": {"keep": pictures}}).raise_for_status()
    seed = 10_000
    while client.get(f"{PATH}/review/stats").json()["waiting"] < pictures:
        for _ in range(20):
            with timed(took, "classify, review on"):
                classify(client, seed)
            seed += 1
        time.sleep(0.3)  # at most 64 wait in memory, and what finds no room is dropped


def classify(client: httpx.Client, seed: int) -> None:
    client.post(
        "/v1/classify", params={"collection": COLLECTION}, files={"image": picture(seed)}
    ).raise_for_status()


def review(client: httpx.Client, took: dict[str, list[float]]) -> None:
    """Decide every picture, one after the other, with a look at the queue each page; undo one now and then."""
    decided = 0
    while True:
        with timed(took, f"page of {PAGE} after decisions"):
            page = client.get(f"{PATH}/review", params={"limit": PAGE}).raise_for_status().json()["data"]
        if not page:
            return
        with timed(took, f"page of {PAGE} again"):
            client.get(f"{PATH}/review", params={"limit": PAGE}).raise_for_status()
        with timed(took, "stats"):
            client.get(f"{PATH}/review/stats").raise_for_status()
        for item in page:
            address = f"{PATH}/review/{item['id']}"
            with timed(took, "thumbnail"):
                client.get(f"{address}/image").raise_for_status()
            with timed(took, "decide by label"):
                client.post(address, json={"label": f"label {decided % 50}"}).raise_for_status()
            decided += 1
            if decided % UNDO_EVERY == 0:
                with timed(took, "undo"):
                    client.delete(f"{address}/decision").raise_for_status()
                client.post(address, json={"decision": "skip"}).raise_for_status()


@contextmanager
def timed(took: dict[str, list[float]], name: str) -> Iterator[None]:
    """Add the seconds of a block to `took`."""
    begun = time.perf_counter()
    yield
    took[name].append(time.perf_counter() - begun)


if __name__ == "__main__":
    main()
