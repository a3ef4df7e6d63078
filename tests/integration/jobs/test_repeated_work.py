"""Jobs that are no training, done by a worker that is lost at the end: another one does them again, once."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx
import pytest

from app.bootstrap import Services
from tests import shapes
from tests.jobs import Owner
from tests.learning import get_json
from tests.working import run_job, run_work
from workers.datasets.job import prepare
from workers.shared.store import LostError
from workers.teaching.job import teach


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(8):
            made.writestr(f"train/{'circle' if number % 2 else 'square'}/{number}.png", shapes.data(number))
    return buffer.getvalue()


async def test_an_upload_stays_until_its_dataset_is_ready_and_only_an_owner_teaches_it(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    made = (await client.post("/v1/datasets", files={"archive": archive()})).json()
    upload = f"datasets/{made['id']}/upload"
    lost = Owner(services, made["job"], lease_s=0)
    await lost.claim()
    await run_work(services, lost, tmp_path / "lost", prepare)  # all is done, and nobody hears of it
    assert services.files.exists(upload)
    job = await run_job(services, client, made["job"])
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job["error"]
    assert not services.files.exists(upload)

    reply = await client.post(f"/v1/datasets/{made['id']}/teach", json={"collection": "default"})
    assert reply.status_code == 202, reply.text
    late = Owner(services, reply.json()["id"], lease_s=0)
    await late.claim()
    with pytest.raises(LostError):
        await run_work(services, late, tmp_path / "late", teach)
    assert (await get_json(client, "/v1/collections/default/labels"))["data"] == []
    owner = Owner(services, late.job)
    await owner.claim()
    outcome = await run_work(services, owner, tmp_path / "owner", teach)
    many = (await get_json(client, f"/v1/datasets/{made['id']}"))["summary"]["splits"]["train"]
    assert outcome.result == {"added": many, "examples": many}
    assert many
