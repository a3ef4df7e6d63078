"""LoRA of LLaVA of 7B parameters as a job of the service: training tokens a second, and memory at its peak."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import httpx

from app.embedded import purge
from benchmarks.gpu.answering import ENCODER, llava, questions
from benchmarks.gpu.machine import ask_nvidia
from benchmarks.gpu.plan import Plan, Recorder
from benchmarks.gpu.serving import service
from benchmarks.gpu.watching import Watch
from benchmarks.pictures import pictures

EXAMPLES = 8
STEPS = 12
TEXT_TOKENS = 24
"""About what question, answer and template add to the image's tokens."""
JOB_SHARE = 0.85
"""Of the section's time, what the job may take."""
MAX_GB = 24.0


def teach(client: httpx.Client) -> None:
    """Answers to one question about as many pictures."""
    for index, (image, question) in enumerate(zip(pictures(EXAMPLES), questions(EXAMPLES), strict=True)):
        form = {"question": question, "answer": ["red", "blue", "green", "yellow"][index % 4]}
        reply = client.post("/v1/collections/default/answers", data=form, files={"image": image})
        reply.raise_for_status()


def wait_for(client: httpx.Client, job: str, seconds: float) -> dict[str, Any]:
    """The job once it has ended; raises TimeoutError at the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        if found["state"] in ("succeeded", "failed", "cancelled"):
            return found
        time.sleep(0.3)
    raise TimeoutError(f"the job has not ended in {seconds:.0f} s: {found['phase']}, {found['progress']}")


def events_of(client: httpx.Client, job: str) -> list[tuple[str, dict[str, Any]]]:
    """(kind, data) of all that the job told."""
    events, kind = [], ""
    for line in client.get(f"/v1/jobs/{job}/events").text.splitlines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            events.append((kind, json.loads(value)))
    return events


def step_seconds(events: list[tuple[str, dict[str, Any]]]) -> float | None:
    """Mean seconds of a step after the first, by the events' own clock; None where too few were told."""
    told = {
        data["step"]: datetime.fromisoformat(data["at"])
        for kind, data in events
        if kind == "metric" and "loss" in data["values"]
    }
    if len(told) < 2:
        return None
    first, last = min(told), max(told)
    return (told[last] - told[first]).total_seconds() / (last - first)


def measure(plan: Plan, recorder: Recorder) -> None:
    """One job of a few steps over the checkpoint that answers were measured with."""
    folder = llava(plan)
    data_dir = plan.scratch / "training"
    extra = {"VISION_VLM": str(folder), "VISION_WORKER": "true"}
    try:
        with service(plan, ENCODER, data_dir, **extra) as (live, _), live.client() as client:
            teach(client)
            before = float(ask_nvidia("memory.used") or 0)
            steps = 4 if plan.tiny else STEPS
            params = {"steps": steps, "batch_size": EXAMPLES, "rehearsal": 0, "augment": False}
            body = {"strategy": "llava_fewshot", "base_model": folder.name, "params": params}
            begun = time.perf_counter()
            with Watch() as watch:
                reply = client.post("/v1/jobs", json=body)
                if reply.is_error:
                    raise RuntimeError(reply.text)
                job = wait_for(client, reply.json()["id"], JOB_SHARE * plan.limit_s)
            recorder.figure(f"LoRA job of {steps} steps, load included", time.perf_counter() - begun, "s")
            events = events_of(client, job["id"])
    finally:
        purge(data_dir)
    if job["state"] != "succeeded":
        logged = [data["line"] for kind, data in events if kind == "log"]
        recorder.failure(f"the job {job['state']}: {job['error']}; its log ends: {logged[-3:]}")
        return
    record_speed(plan, recorder, events)
    told = {
        name: value for kind, data in events if kind == "metric" for name, value in data["values"].items()
    }
    for name, value in sorted(told.items()):
        if any(word in name for word in ("tokens", "memory", "samples", "utilisation")):
            recorder.figure(f"LoRA job says {name}", value)
    if watch.gpu_peak_mb is not None:
        used = (watch.gpu_peak_mb - before) * 1024**2 / 1e9
        recorder.figure("LoRA, memory of the device at its peak", used, "GB", most=MAX_GB)


def record_speed(plan: Plan, recorder: Recorder, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Tokens a second from the time between steps and the tokens of an example."""
    seconds = step_seconds(events)
    if seconds is None or seconds <= 0:
        recorder.skip("LoRA tokens a second: the job told of too few steps")
        return
    config = json.loads((llava(plan) / "config.json").read_text(encoding="utf-8"))
    tokens = config["image_seq_length"] + TEXT_TOKENS
    note = f"{EXAMPLES} examples of about {tokens} tokens a step"
    recorder.figure(
        "LoRA, training tokens a second", EXAMPLES * tokens / seconds, "tokens/s", least=2_000, note=note
    )
