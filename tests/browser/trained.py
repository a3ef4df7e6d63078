"""A service with a worker, and what was taught and trained there, shared by the modules that look at it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from tests.browser.pictures import write_picture
from tests.live import Live

WITH_WORKER = {"VISION_WORKER": "true", "VISION_COMPARE_IMAGES": "200"}
"""The same settings give modules the same service."""
COLLECTION = "things"
MODEL = "things-model"
NAMES = ("mug", "cactus", "boat")
JOB_SECONDS = 240


def wait_for_job(client: httpx.Client, job: str) -> dict[str, Any]:
    """The job as it is at its end."""
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        if found["state"] in {"succeeded", "failed", "cancelled"}:
            return found
        time.sleep(0.2)
    raise AssertionError(f"job {job} did not end in {JOB_SECONDS} s")


def teach_things(served: Live, folder: Path) -> None:
    """The collection `things` of three labels with six pictures each; a second call changes nothing."""
    with served.client() as client:
        if client.post("/v1/collections", json={"name": COLLECTION}).status_code != 201:
            return
        for name in NAMES:
            files = [("images", write_picture(folder, name, seed).read_bytes()) for seed in range(6)]
            reply = client.post(f"/v1/collections/{COLLECTION}/examples", data={"label": name}, files=files)
            assert reply.status_code == 201, reply.text


def train_things(served: Live, folder: Path) -> str:
    """The model trained from `things`, by a job of a few steps unless it is there already."""
    teach_things(served, folder)
    with served.client() as client:
        if client.get(f"/v1/models/{MODEL}").is_success:
            return MODEL
        wish = {
            "strategy": "prototypical_fewshot",
            "collection": COLLECTION,
            "name": MODEL,
            "params": {"steps": 30},
        }
        started = client.post("/v1/jobs", json=wish).json()
        ended = wait_for_job(client, started["id"])
        assert ended["state"] == "succeeded", ended["error"]
    return MODEL


def wait_until(page: Page, holds: Any, seconds: float = 120) -> None:
    """Looks again until `holds()` is true, while the page goes on."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(100)
