"""Two ranks on the CPU under DeepSpeed and FSDP2: the same curve as one process, and killed midway the same end."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from app.bootstrap import Services
from tests import shapes
from tests.held import STOPPING_NAMES, held, stopping_at
from tests.live import environment, free_port
from tests.working import run_job
from workers.worker.supervisor import supervise

pytestmark = pytest.mark.slow

PARAMS = {
    "epochs": 2,
    "batch_size": 8,
    "evaluate_every": 8,
    "checkpoint_every": 8,
    "augment": False,
    "learning_rate": 1e-4,
}
TWO = {**PARAMS, "batch_size": 4, "processes": 2, "deepspeed": "zero2", "offload_optimizer": False}
SPREAD = {**TWO, "offload_parameters": True}
"""Stage 2 with what only stage 3 has."""
FSDP = {**PARAMS, "batch_size": 4, "processes": 2, "sharding": "fsdp"}


async def prepare_dataset(client: httpx.AsyncClient, services: Services) -> str:
    """96 easy-VQA images by shape and colour, split by their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for place, (number, (colour, shape)) in enumerate(sorted(shapes.list_shapes().items())[:96]):
            split = ("train", "train", "train", "validation")[place % 4]
            archive.writestr(
                f"{split}/{'dark' if colour in ('black', 'brown') else shape}/{number}.png",
                shapes.data(number),
            )
    made = (await client.post("/v1/datasets", files={"archive": buffer.getvalue()})).json()
    job = await run_job(services, client, made["job"])
    assert job["state"] == "succeeded", job["error"]
    return str(made["id"])


async def prepare_questions(client: httpx.AsyncClient, services: Services) -> str:
    """64 questions of three lengths."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        lines = []
        for place, (number, (colour, shape)) in enumerate(sorted(shapes.list_shapes().items())[:64]):
            archive.writestr(f"{number}.png", shapes.data(number))
            question, answer = (
                ("hue?", colour),
                ("what shape is in the image?", shape),
                (f"is it a {colour} {shape}, or is it something else that lies there?", "it is"),
            )[place % 3]
            lines.append(json.dumps({"image": f"{number}.png", "question": question, "answer": answer}))
        archive.writestr("data.jsonl", "\n".join(lines))
    made = (await client.post("/v1/datasets", files={"archive": buffer.getvalue()})).json()
    job = await run_job(services, client, made["job"])
    assert job["state"] == "succeeded", job["error"]
    return str(made["id"])


async def submit_job(
    client: httpx.AsyncClient, dataset: str, params: dict[str, Any], name: str, base: str = "clip-tiny"
) -> str:
    body = {
        "strategy": "custom_manyshot",
        "base_model": base,
        "dataset": dataset,
        "params": params,
        "name": name,
    }
    reply = await client.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def losses(client: httpx.AsyncClient, job: str) -> dict[int, float]:
    series = (await client.get(f"/v1/jobs/{job}/metrics")).json()["data"]
    one = next(curve for curve in series if curve["name"] == "validation_loss")
    return dict(zip(one["steps"], one["values"], strict=True))


async def a_checkpoint(services: Services, job: str, attempt: asyncio.Task[Any]) -> None:
    """Wait until the attempt has put one into the file store."""
    folder = services.settings.server.data_dir / "files" / "jobs" / job
    deadline = time.monotonic() + 600
    while not list(folder.glob("*/checkpoints/*/*/trainer_state.json")):
        assert not attempt.done(), attempt.result()
        assert time.monotonic() < deadline, "no checkpoint was written"
        await asyncio.sleep(0.05)


async def kill_after_checkpoint(services: Services, client: httpx.AsyncClient, job: str) -> None:
    """Run an attempt and kill one of its ranks, once a checkpoint is in the file store; nothing is left of the rest."""
    settings = services.settings.replace(job_environment=STOPPING_NAMES)
    with pytest.MonkeyPatch.context() as patch:
        # the first rank stops there and the second waits for it, or both might have ended before a late look
        for name, value in stopping_at("checkpoint").items():
            patch.setenv(name, value)
        attempt = asyncio.create_task(
            asyncio.to_thread(supervise, uuid.UUID(job), settings, services.addresses, threading.Event())
        )
        await a_checkpoint(services, job, attempt)
        first = await asyncio.to_thread(held, ranks)
        (rank,) = (rank for rank in ranks() if rank.environ().get("RANK") == "1")
        rank.kill()
        first.resume()
        await attempt
    found = (await client.get(f"/v1/jobs/{job}")).json()
    assert (found["state"], found["attempt"]) == ("queued", 1), found["error"]
    assert found["error"]["error"]["code"] in {"rank_lost", "process_died"}
    assert not ranks()


def ranks() -> list[psutil.Process]:
    """Training processes below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and "workers.worker.trainer" in " ".join(
                process.cmdline()
            ):
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No training needs a compiler on its worker, nor the minute that one takes."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "compiled"))
    yield
    assert not list(tmp_path.glob("compiled/*"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alone(module_client: httpx.AsyncClient, services: Services) -> dict[str, Any]:
    """What one process learns: its accuracy and its validation losses by step."""
    dataset = await prepare_dataset(module_client, services)
    job = await run_job(services, module_client, await submit_job(module_client, dataset, PARAMS, "alone"))
    assert job["state"] == "succeeded", job["error"]
    return {"accuracy": job["metrics"]["accuracy"], "losses": await losses(module_client, job["id"])}


@pytest.mark.parametrize(
    ("params", "says"),
    [(SPREAD, "raised to 3"), (FSDP, "FSDP2: each of 2 ranks keeps")],
    ids=["deepspeed", "fsdp"],
)
async def test_two_ranks_learn_as_one_and_survive_a_kill(
    client: httpx.AsyncClient, services: Services, alone: dict[str, Any], params: dict[str, Any], says: str
) -> None:
    dataset = await prepare_dataset(client, services)
    job = await submit_job(client, dataset, params, "killed")
    await kill_after_checkpoint(services, client, job)
    again = await run_job(services, client, job)
    assert (again["state"], again["attempt"]) == ("succeeded", 2), again["error"]
    log = (await client.get(f"/v1/jobs/{job}/events", params={"follow": "false"})).text
    assert says in log
    assert "Going on after step" in log
    assert again["metrics"]["accuracy"] == pytest.approx(alone["accuracy"], abs=0.05)
    curve = await losses(client, job)
    assert curve.keys() == alone["losses"].keys()
    assert list(curve.values()) == pytest.approx(list(alone["losses"].values()), rel=0.1, abs=0.005)
    asked = {"data": {"model": "killed", "threshold": "0"}, "files": {"image": shapes.data(0)}}
    assert (await client.post("/v1/classify", **asked)).json()["label"]  # type: ignore[arg-type]


async def test_adapters_of_a_vision_language_model_are_divided_too(
    client: httpx.AsyncClient, services: Services
) -> None:
    """Three steps, the last of which is looked at and therefore the best: all ranks have to load it."""
    dataset = await prepare_dataset(client, services)
    params = {**FSDP, "epochs": 1 / 3, "evaluate_every": 100, "checkpoint_every": 100, "lora": {"rank": 4}}
    done = await run_job(
        services, client, await submit_job(client, dataset, params, "adapters", "llava-shapes")
    )
    assert done["state"] == "succeeded", done["error"]
    assert done["metrics"]["best_step"] == 3
    assert list(await losses(client, done["id"])) == [3]
    asked = {"data": {"model": "adapters", "question": "What is this?"}, "files": {"image": shapes.data(0)}}
    assert (await client.post("/v1/vqa", **asked)).json()["answer"]  # type: ignore[arg-type]


async def test_ranks_that_gather_each_layer_learn_questions_of_various_lengths(
    client: httpx.AsyncClient, services: Services
) -> None:
    dataset = await prepare_questions(client, services)
    params = {**TWO, "deepspeed": "zero3", "epochs": 1, "evaluate_every": 2, "checkpoint_every": 100}
    done = await run_job(
        services, client, await submit_job(client, dataset, params, "questions", "blip-shapes-vqa")
    )
    assert (done["state"], done["attempt"]) == ("succeeded", 1), done["error"]
    assert len(await losses(client, done["id"])) > 2
    asked = {"data": {"model": "questions", "question": "hue?"}, "files": {"image": shapes.data(0)}}
    assert (await client.post("/v1/vqa", **asked)).json()["answer"]  # type: ignore[arg-type]


async def test_a_second_node_joins_and_goes_on_after_a_stop(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    dataset = await prepare_dataset(client, services)
    params = {**TWO, "epochs": 3, "processes": 1, "nodes": 2, "evaluate_every": 3, "checkpoint_every": 3}
    job = await submit_job(client, dataset, params, "nodes")
    meeting = f"127.0.0.1:{free_port()}"
    first = services.settings.replace(rendezvous=meeting)
    second = environment(
        VISION_DATABASE_URL=services.addresses.database_url,
        VISION_DATA_DIR=str(services.settings.server.data_dir),
        VISION_SCRATCH_DIR=str(tmp_path / "second node"),
        VISION_RENDEZVOUS=meeting,
    )
    joined = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.join", job, env=second, cwd=tmp_path
    )
    try:
        stopping = threading.Event()
        attempt = asyncio.create_task(
            asyncio.to_thread(supervise, uuid.UUID(job), first, services.addresses, stopping)
        )
        await a_checkpoint(services, job, attempt)
        stopping.set()
        await attempt
        assert (await client.get(f"/v1/jobs/{job}")).json()["state"] == "queued"
        await asyncio.to_thread(supervise, uuid.UUID(job), first, services.addresses, threading.Event())
        found = (await client.get(f"/v1/jobs/{job}")).json()
        assert found["state"] == "succeeded", found["error"]
        log = (await client.get(f"/v1/jobs/{job}/events", params={"follow": "false"})).text
        assert "Going on after step" in log
        assert await asyncio.wait_for(joined.wait(), 60) == 0
    finally:
        if joined.returncode is None:
            joined.kill()
            await joined.wait()
    assert not list((tmp_path / "second node").iterdir())
