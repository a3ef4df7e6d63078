"""Forty clients of every kind at once: right answers, clean refusals, nothing stuck, nothing growing."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.faults.chaos import MAX_WAIT_SECONDS, Chaos, queue_depth
from tests.live import Live
from tests.photos import TAUGHT, encode_photo, photo

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
"""`CHAOS_SECONDS=60 make test ARGS='-k chaos'` lets it rage for a whole minute."""
MAX_QUEUE = 64
_MIB = 1024 * 1024


@pytest.mark.slow
async def test_chaos(service: Live) -> None:
    with service.client() as client:
        for label, name in TAUGHT.items():
            files = {"images": encode_photo(photo(name))}
            reply = client.post("/v1/collections/default/examples", data={"label": label}, files=files)
            assert reply.status_code == 201, reply.text

    report = await Chaos(service).run(clients=40, seconds=SECONDS)

    summary = "\n".join(
        [*(f"{kind}: {count}" for kind, count in sorted(report.answers.items())), *report.wrong[:20]]
    )
    assert not report.wrong, summary
    assert report.answers["good", 200] > SECONDS, summary
    assert report.slowest_s < MAX_WAIT_SECONDS, summary
    assert report.depths, summary
    assert max(report.depths) <= MAX_QUEUE, report.depths

    # flat: the last third of the time needs no more than the first did, but for what allocators keep
    third = max(1, len(report.memory) // 3)
    growth = max(report.memory[-third:]) - max(report.memory[:third])
    assert growth < 150 * _MIB, [round(bytes_ / _MIB) for bytes_ in report.memory]

    with service.client() as client:
        deadline = time.monotonic() + 60
        while queue_depth(client.get("/metrics").text):
            assert time.monotonic() < deadline, "work is left in the queue that nobody waits for"
            await asyncio.sleep(0.05)
        reply = client.post("/v1/classify", files={"image": encode_photo(photo("coffee"))}).json()
        assert reply["label"] == "cup of coffee"
