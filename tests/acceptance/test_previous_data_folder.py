"""A data folder that the released schema 0003 wrote is served by today's code, and its unfinished jobs finish.

`tests/fixtures/data_folder_0003.tar.gz` holds the rows of its database and its files: two collections, a dataset, two
trained models, a job that was queued, and one whose worker was killed after the checkpoint of step 20.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.embedded import EmbeddedServers
from tests import shapes
from tests.cluster import FINISHED, PERIODS, until
from tests.live import Live, run, serving
from tests.schema import migrate_to

pytestmark = pytest.mark.slow
FIXTURE = Path(__file__).parents[1] / "fixtures" / "data_folder_0003.tar.gz"
HALF_TRAINED, QUEUED = "e7925314-4990-4189-9720-743b25d7ef7e", "cf7f1470-a27c-4409-8bcf-08f49e617933"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder / "data", filter="data")
    servers = EmbeddedServers(folder / "servers", durable=False)
    try:
        addresses = servers.start()
        migrate_to(addresses.database_url, "0003")
        with psycopg.connect(addresses.database_url) as connection:
            connection.execute("DELETE FROM workspaces")  # the migration made the default one
            for statement in (folder / "data" / "rows.sql").read_text().splitlines():
                connection.execute(statement)  # type: ignore[arg-type]
        urls = {"VISION_DATABASE_URL": addresses.database_url, "VISION_REDIS_URL": addresses.redis_url}
        # a lease that outlives the start of the process which jobs are forks of
        periods = PERIODS | {"VISION_JOB_LEASE_S": "120"}
        with serving(folder / "data", VISION_WORKER="true", **urls, **periods) as live:
            yield live
    finally:
        servers.stop()


def test_examples_models_and_datasets_are_served(old: Live) -> None:
    with old.client() as client:
        collections = {row["name"]: row["examples"] for row in client.get("/v1/collections").json()["data"]}
        assert collections == {"default": 4, "shapes": 18}
        taught = client.get("/v1/collections/shapes/examples").json()["data"][0]
        image = client.get(f"/v1/collections/shapes/examples/{taught['id']}/image")
        assert image.is_success
        number = next(
            number for number, (_, shape) in sorted(shapes.list_shapes().items()) if shape == taught["label"]
        )
        for fields in ({"collection": "shapes"}, {"model": "old-model"}):
            reply = client.post("/v1/classify", data=fields, files={"image": shapes.data(number)})
            assert {score["label"] for score in reply.json()["scores"]} == {"circle", "rectangle", "triangle"}
            assert reply.json()["scores"][0]["label"] == taught["label"]
        (dataset,) = client.get("/v1/datasets").json()["data"]
        assert (dataset["state"], dataset["summary"]["examples"]) == ("ready", 18)


def test_queued_and_half_trained_jobs_finish(old: Live) -> None:
    with old.client() as client:

        def end(job: str) -> dict[str, object]:
            found: dict[str, object] = until(
                lambda: row if (row := client.get(f"/v1/jobs/{job}").json())["state"] in FINISHED else None,
                180,
            )
            return found

        for job in (QUEUED, HALF_TRAINED):
            ended = end(job)
            assert ended["state"] == "succeeded", ended["error"]
            assert ended["model"]
    shown = run("jobs", "show", HALF_TRAINED, VISION_SERVER=old.url)
    assert shown.returncode == 0, shown.stderr


def test_the_half_trained_job_went_on_from_its_checkpoint(old: Live) -> None:
    with old.client() as client:
        until(lambda: client.get(f"/v1/jobs/{HALF_TRAINED}").json()["state"] in FINISHED, 180)
        log = client.get(f"/v1/jobs/{HALF_TRAINED}/events").text
    assert "Going on after step 20." in log
