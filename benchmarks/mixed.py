"""What questions cost those who classify at the same time: `python -m benchmarks.mixed`.

Prints the median latency of classifying beside questions over that of classifying alone, for 50 of each sent at once
and for one client after another. Knows the service from outside.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import easy_vqa
import httpx
from rich.console import Console
from rich.table import Table

from app.embedded import purge
from benchmarks.pictures import pictures
from tests.live import launch

AT_ONCE = 50
ROUNDS = 5
LONE_SECONDS = 4.0
out = Console(width=110)


async def time_classification(client: httpx.AsyncClient, image: bytes) -> float:
    """Seconds one classification takes."""
    began = time.perf_counter()
    reply = await client.post("/v1/classify", params={"labels": "cat,dog"}, files={"image": image})
    reply.raise_for_status()
    return time.perf_counter() - began


async def time_question(client: httpx.AsyncClient, image: bytes) -> float:
    """Seconds one question takes."""
    began = time.perf_counter()
    form = {"question": "describe the image.", "max_new_tokens": "16"}
    (await client.post("/v1/vqa", data=form, files={"image": image})).raise_for_status()
    return time.perf_counter() - began


async def together(
    client: httpx.AsyncClient, photos: list[bytes], shapes: list[bytes]
) -> tuple[float, float]:
    """Median classify seconds of 50 at once: alone, and among 50 questions."""
    quiet = await asyncio.gather(
        *[time_classification(client, photos[i % len(photos)]) for i in range(AT_ONCE)]
    )
    mixed = []
    for i in range(AT_ONCE):
        mixed += [
            time_classification(client, photos[i % len(photos)]),
            time_question(client, shapes[i % len(shapes)]),
        ]
    both = await asyncio.gather(*mixed)
    return median(quiet), median(both[::2])


async def measure_lone(
    client: httpx.AsyncClient, photos: list[bytes], shapes: list[bytes]
) -> tuple[float, float]:
    """Median classify seconds of one client after another: alone, and beside eight who ask without pause."""

    async def series() -> list[float]:
        took, end = [], time.perf_counter() + LONE_SECONDS
        while time.perf_counter() < end:
            took.append(await time_classification(client, photos[len(took) % len(photos)]))
        return took

    async def asking(stop: asyncio.Event, first: int) -> None:
        while not stop.is_set():
            await time_question(client, shapes[first % len(shapes)])

    quiet = median(await series())
    stop = asyncio.Event()
    askers = [asyncio.create_task(asking(stop, index)) for index in range(8)]
    busy = median(await series())
    stop.set()
    await asyncio.gather(*askers)
    return quiet, busy


def drawings(count: int) -> list[bytes]:
    """Images that the shipped models know."""
    return [Path(path).read_bytes() for path in list(easy_vqa.get_test_image_paths().values())[:count]]


async def measure(url: str) -> None:
    """Both tables' rows."""
    photos = pictures(24)
    shapes = drawings(24)
    limits = httpx.Limits(max_connections=2 * AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await time_question(client, shapes[0])  # loads the model
        await together(client, photos, shapes)
        rounds = [await together(client, photos, shapes) for _ in range(ROUNDS)]
        single = [await measure_lone(client, photos, shapes) for _ in range(2)]
    table = Table("classify, median ms", "alone", "beside questions", "times")
    for name, pairs in (
        (f"{AT_ONCE} at once, among {AT_ONCE} questions", rounds),
        ("one after another, 8 asking", single),
    ):
        alone, beside = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(busy / quiet for quiet, busy in pairs)
        table.add_row(name, f"{1e3 * alone:.0f}", f"{1e3 * beside:.0f}", f"{ratio:.2f}")
    out.print(table)


def main() -> None:
    """Start a service of its own, measure, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        live = launch(
            data_dir, VISION_EMBEDDING_CACHE="false", VISION_LOG_LEVEL="warning", VISION_MAX_UPLOADS="256"
        )
        try:
            live.wait_until_ready()
            asyncio.run(measure(live.url))
        finally:
            live.stop()
            purge(data_dir)


if __name__ == "__main__":
    main()
