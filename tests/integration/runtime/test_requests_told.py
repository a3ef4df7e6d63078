"""What a service tells of its requests: their ids, the access line, and metrics by route."""

from __future__ import annotations

import asyncio
import logging
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


async def test_request_ids_come_back_and_stand_in_the_access_line(
    anonymous: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("app")
    before = logger.level
    logger.setLevel("INFO")
    try:
        reply = await anonymous.get("/v1/keys", headers={"X-Request-ID": "my-id.1"})
        await anonymous.delete("/v1/keys/some-id")
        await anonymous.get("/no/such/path")
        await anonymous.get("/healthz")
        await asyncio.sleep(0)  # a line is written after its answer
    finally:
        logger.setLevel(before)
    assert reply.headers["x-request-id"] == "my-id.1"
    lines = [record.msg for record in caplog.records if record.name == "app.access"]
    assert len(lines) == 3  # health checks are too many to be worth a line
    first, second, third = lines
    assert first["request_id"] == "my-id.1"
    assert (first["method"], first["route"], first["status"]) == ("GET", "/v1/keys", 200)
    assert first["workspace"] == "default"
    assert first["ms"] > 0
    assert (second["route"], second["status"]) == ("/v1/keys/{key_id}", 404)
    assert (third["route"], third["status"]) == ("unmatched", 404)


async def test_ids_that_could_forge_lines_are_replaced(anonymous: httpx.AsyncClient) -> None:
    for bad in ["a" * 65, "a b", "a;b", 'a"b', "ü", "a\tb"]:
        reply = await anonymous.get("/healthz", headers={"X-Request-ID": bad.encode()})
        assert re.fullmatch(r"[0-9a-f]{16}", reply.headers["x-request-id"])


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_requests_by_route_and_show_the_models(anonymous: httpx.AsyncClient) -> None:
    async def read() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        reply = await anonymous.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        return samples(reply.text)

    key = ("vision_requests_total", (("method", "GET"), ("route", "/v1/keys"), ("status", "200")))
    before = await read()
    await anonymous.get("/v1/keys")
    await anonymous.get("/v1/keys?limit=7")
    after = await read()
    assert after[key] - before.get(key, 0) == 2
    assert after[("vision_request_seconds_count", (("route", "/v1/keys"),))] >= 2
    assert after[("vision_model_memory_bytes", (("model", "lite"),))] > 1_000_000
    assert after[("vision_queue_depth", (("model", "lite"),))] == 0
    names = {name for name, _ in after}
    for stage in ("decode", "preprocess", "queue", "forward", "head"):
        assert ("vision_stage_seconds_count", (("stage", stage),)) in after
    assert {"vision_embedding_cache_total", "process_resident_memory_bytes"} <= names


async def test_made_up_addresses_and_methods_do_not_make_new_series(anonymous: httpx.AsyncClient) -> None:
    for i in range(5):
        await anonymous.request(f"BREW{i}", f"/made/up/{i}")
    text = (await anonymous.get("/metrics")).text
    assert "BREW" not in text
    assert "/made/up" not in text
