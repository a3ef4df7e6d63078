"""Datasets over HTTP: an archive goes in, a worker checks it, and what was found can be seen, trained on, removed."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.bootstrap import Services
from app.http.paging import to_cursor
from tests.archive_files import raw_zip
from tests.conftest import ClientMaker
from tests.working import run_job


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def zip_files(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def colours(count: int = 10) -> dict[str, bytes]:
    red = {f"d/red/{i}.png": picture((200 + i, 0, 0)) for i in range(count)}
    return red | {f"d/blue/{i}.png": picture((0, 0, 200 + i)) for i in range(count)}


async def check_images(
    client: httpx.AsyncClient, make_client: ClientMaker, dataset: str, rows: list[dict[str, str]]
) -> None:
    """The dataset's `rows` are listed page by page, and each shows its picture to its own workspace alone."""
    path = f"/v1/datasets/{dataset}/images"
    for only in ({}, {"label": "red"}, {"split": "test"}, {"label": "blue", "split": "train"}):
        listed: list[dict[str, str]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await client.get(path, params={"limit": 3, **only, **cursor})).json()
            assert len(page["data"]) <= 3
            listed += page["data"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        wanted = [row for row in rows if only.items() <= row.items()]
        assert [(example["image_sha256"], example["label"], example["split"]) for example in listed] == [
            (row["image"], row["label"], row["split"]) for row in wanted
        ]
    assert (await client.get(path, params={"label": "green"})).json() == {"data": [], "next": None}
    for cursor in (to_cursor("5"), to_cursor("-1"), to_cursor("x"), to_cursor(str(10**9)), "nonsense"):
        assert (await client.get(path, params={"cursor": cursor})).status_code == 422

    place = listed[0]["image"]
    shown = await client.get(place, params={"size": 16})
    with Image.open(io.BytesIO(shown.content)) as image:
        assert (image.format, image.size) == ("JPEG", (16, 16))
        blue = image.convert("RGB").getpixel((8, 8))
        assert isinstance(blue, tuple)
        assert blue[2] > 150 > blue[0]
    etag = {"If-None-Match": shown.headers["etag"]}
    assert (await client.get(place, params={"size": 16}, headers=etag)).status_code == 304
    # an image that the blob store has, but this dataset does not show
    taught = await client.post(
        "/v1/collections/default/examples",
        data={"label": "green"},
        files={"images": picture((0, 200, 0))},
    )
    elsewhere = taught.json()["data"][0]["image_sha256"]
    for sha256 in (elsewhere, "0" * 64, "nonsense", "%00"):
        reply = await client.get(f"{path}/{sha256}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "dataset_image_not_found")
    stranger = await make_client()
    for there in (path, place):
        assert (await stranger.get(there)).json()["error"]["code"] == "dataset_not_found"


async def test_an_archive_becomes_a_dataset(
    client: httpx.AsyncClient, services: Services, make_client: ClientMaker
) -> None:
    files = colours() | {"d/red/broken.png": b"no", "d/blue/again.png": picture((0, 0, 200))}
    reply = await client.post(
        "/v1/datasets", files={"archive": zip_files(files)}, data={"name": "colours", "split": "0.8,0.1,0.1"}
    )
    assert reply.status_code == 202
    made = reply.json()
    assert (made["state"], made["task"], made["format"]) == ("preparing", None, "auto")
    job = await run_job(services, client, made["job"])
    assert (job["state"], job["kind"]) == ("succeeded", "prepare"), job["error"]

    found = (await client.get(f"/v1/datasets/{made['id']}")).json()
    assert (found["state"], found["task"], found["format"]) == ("ready", "classification", "directory")
    assert found["summary"]["splits"] == {"train": 16, "validation": 2, "test": 2}
    assert found["summary"]["refused_total"] == 1
    assert found["summary"]["duplicates"] == 1
    report = (await client.get(f"/v1/datasets/{made['id']}/report")).text
    assert json.loads(report)["path"] == "d/red/broken.png"
    rows = [
        json.loads(line)
        for line in (await client.get(f"/v1/datasets/{made['id']}/manifest")).text.splitlines()
    ]
    assert {(row["label"], row["split"]) for row in rows} >= {("red", "test"), ("blue", "train")}
    await check_images(client, make_client, made["id"], rows)
    listed = (await client.get("/v1/datasets")).json()["data"]
    assert [dataset["id"] for dataset in listed] == [made["id"]]

    shown = rows[0]["image"]
    assert await services.blobs.get(shown)
    assert await services.learning.sweep() == 0 or await services.blobs.get(shown)
    assert (await client.delete(f"/v1/datasets/{made['id']}")).status_code == 204
    assert (await client.get(f"/v1/datasets/{made['id']}")).status_code == 404


async def test_names_of_old_archivers_become_labels_and_the_guess_is_stated(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    colours = {"猫": (200, 0, 0), "狗": (0, 0, 200)}
    files = {
        f"train\\{label}\\{i}.png".encode("gb18030"): picture((red + i, 0, blue + i))
        for label, (red, _, blue) in colours.items()
        for i in range(5)
    }
    photo = io.BytesIO()
    Image.new("RGB", (32, 32), (0, 200, 0)).save(photo, "AVIF")
    files["train\\狗\\photo.avif".encode("gb18030")] = photo.getvalue()
    archive = raw_zip(tmp_path / "upload.zip", files).read_bytes()
    reply = await client.post("/v1/datasets", files={"archive": archive})
    job = await run_job(services, client, reply.json()["job"])
    assert job["state"] == "succeeded", job["error"]
    summary = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()["summary"]
    assert set(summary["labels"]) == {"猫", "狗"}
    assert (summary["images"], summary["refused_total"]) == (11, 0)
    said = " ".join(summary["remarks"])
    assert "GBK ('猫')" in said
    assert "Backslashes in 11 names" in said


async def test_what_cannot_be_prepared_says_why(client: httpx.AsyncClient, services: Services) -> None:
    reply = await client.post("/v1/datasets", files={"archive": zip_files({"../evil": b"x"})})
    job = await run_job(services, client, reply.json()["job"])
    assert (job["state"], job["error"]["error"]["code"]) == ("failed", "invalid_archive")
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert found["state"] == "failed"
    reply = await client.post("/v1/jobs", json={"strategy": "lite_fewshot", "dataset": found["id"]})
    assert (reply.status_code, "could not be prepared" in reply.json()["detail"]) == (409, True)
    assert "not a name" in found["error"]["detail"]


async def test_annotations_decide_and_never_the_folders_around_them(
    client: httpx.AsyncClient, services: Services
) -> None:
    images = {f"images/{i}.png": picture((20 * i, 0, 0)) for i in range(6)}
    table = "id;variety\n" + "".join(f"{i};{'odd' if i % 2 else 'even'}\n" for i in range(6))
    reply = await client.post(
        "/v1/datasets", files={"archive": zip_files(images | {"a.csv": table.encode()})}
    )
    await run_job(services, client, reply.json()["job"])
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert (found["state"], found["format"]) == ("ready", "csv"), found["error"]
    assert set(found["summary"]["labels"]) == {"odd", "even"}
    assert "the column 'variety' of a.csv was taken as the label" in found["summary"]["remarks"]

    unknown = json.dumps({"shapes": [], "imagePath": "images/0.png"}).encode()
    reply = await client.post("/v1/datasets", files={"archive": zip_files(images | {"a.json": unknown})})
    await run_job(services, client, reply.json()["job"])
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert found["state"] == "failed"
    assert "a.json: JSON with the keys imagePath, shapes" in found["error"]["detail"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split": "0.5,0.1"}, "split"),
        ({"split": "[1"}, "split"),
        ({"format": "parquet"}, "format"),
        ({"seed": "-1"}, "seed"),
        ({"sped": "1"}, "no such field"),
    ],
)
async def test_wrong_fields_are_named(client: httpx.AsyncClient, fields: dict[str, str], words: str) -> None:
    reply = await client.post("/v1/datasets", files={"archive": b"x"}, data=fields)
    assert reply.status_code == 422
    assert words in reply.json()["detail"]


async def test_no_archive_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/datasets", data={"name": "x"}, files={"other": b"x"})).status_code == 422
    assert (await client.post("/v1/datasets", json={})).status_code == 415
    empty = await client.post("/v1/datasets", content=b"", headers={"Content-Type": "application/zip"})
    assert empty.status_code == 422


async def test_a_collection_becomes_a_dataset(client: httpx.AsyncClient, services: Services) -> None:
    for label, data in (("red", picture((250, 0, 0))), ("blue", picture((0, 0, 250)))):
        await client.post("/v1/collections/default/examples", data={"label": label}, files={"images": data})
    reply = await client.post("/v1/datasets/from-collection", json={"collection": "default"})
    assert reply.status_code == 202
    job = await run_job(services, client, reply.json()["job"])
    assert job["state"] == "succeeded", job["error"]
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert set(found["summary"]["labels"]) == {"red", "blue"}
    assert found["summary"]["median_side"] == 32

    form = {"question": "what colour?", "answer": "red"}
    taught = await client.post(
        "/v1/collections/default/answers", data=form, files={"image": picture((250, 0, 0))}
    )
    assert taught.status_code == 201, taught.text
    wanted = {"collection": "default", "task": "vqa", "split": [1.0, 0, 0]}
    reply = await client.post("/v1/datasets/from-collection", json=wanted)
    job = await run_job(services, client, reply.json()["job"])
    assert job["state"] == "succeeded", job["error"]
    row = json.loads((await client.get(f"/v1/datasets/{reply.json()['id']}/manifest")).text)
    assert (row["question"], row["answer"], row["split"]) == ("what colour?", "red", "train")


async def test_a_dataset_of_a_raw_tar_teaches_a_collection(
    client: httpx.AsyncClient, services: Services
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        for name, data in colours(5).items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            packed.addfile(about, io.BytesIO(data))
    kind = {"Content-Type": "application/gzip"}
    reply = await client.post("/v1/datasets?name=raw", content=archive.getvalue(), headers=kind)
    made = reply.json()
    assert (reply.status_code, made["name"]) == (202, "raw")
    early = await client.post(f"/v1/datasets/{made['id']}/teach", json={"collection": "default"})
    assert early.status_code == 409
    await run_job(services, client, made["job"])
    reply = await client.post(f"/v1/datasets/{made['id']}/teach", json={"collection": "default"})
    assert reply.status_code == 202, reply.text
    job = await run_job(services, client, reply.json()["id"])
    assert (job["state"], job["metrics"]["added"]) == ("succeeded", 6), job["error"]
    assert (job["dataset"], job["dataset_name"]) == (made["id"], made["name"])
    labels = (await client.get("/v1/collections/default/labels")).json()["data"]
    assert {label["label"]: label["examples"] for label in labels} == {"blue": 3, "red": 3}
    assert (await client.delete(f"/v1/datasets/{made['id']}")).status_code == 204
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["dataset_name"] is None


async def test_other_workspaces_see_nothing(make_client: ClientMaker) -> None:
    mine, other = await make_client(), await make_client()
    made = (await mine.post("/v1/datasets", files={"archive": zip_files(colours(2))})).json()
    assert (await other.get(f"/v1/datasets/{made['id']}")).status_code == 404
    assert (await other.delete(f"/v1/datasets/{made['id']}")).status_code == 404
    assert (await other.get("/v1/datasets")).json()["data"] == []
    assert (await mine.delete(f"/v1/datasets/{made['id']}")).status_code == 204


async def test_a_dataset_of_which_all_was_refused_has_its_report(
    client: httpx.AsyncClient, services: Services
) -> None:
    document = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(5)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1} for i in range(5)],
        "categories": [{"id": 1, "name": "mug"}],
    }
    files = {"ann.json": json.dumps(document).encode(), "pics/other.png": picture((1, 2, 3))}
    reply = await client.post("/v1/datasets", files={"archive": zip_files(files)})
    job = await run_job(services, client, reply.json()["job"])
    assert job["state"] == "failed"
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert found["state"] == "failed"
    assert "named in the annotations but not there (5)" in found["error"]["detail"]
    assert found["summary"]["refused"] == {"named in the annotations but not there": 5}
    report = await client.get(f"/v1/datasets/{reply.json()['id']}/report")
    assert report.status_code == 200
    assert [json.loads(line)["path"] for line in report.text.splitlines()] == [f"{i}.jpg" for i in range(5)]


async def test_folders_that_could_mean_two_things_are_refused_until_someone_chooses(
    client: httpx.AsyncClient, services: Services
) -> None:
    names = ("animals/cat", "animals/dog", "plants/fern", "plants/rose")
    files = {
        f"{name}/{i}.png": picture((60 * place, i, 0)) for place, name in enumerate(names) for i in range(2)
    }
    reply = await client.post("/v1/datasets", files={"archive": zip_files(files)})
    await run_job(services, client, reply.json()["job"])
    found = (await client.get(f"/v1/datasets/{reply.json()['id']}")).json()
    assert (found["state"], "labels_from=parent" in found["error"]["detail"]) == ("failed", True)
    chosen = {"labels_from": "parent"}
    reply = await client.post("/v1/datasets", files={"archive": zip_files(files)}, data=chosen)
    job = await run_job(services, client, reply.json()["job"])
    assert set(job["result"]["labels"]) == {"cat", "dog", "fern", "rose"}


async def test_what_the_own_split_keeps_from_training_is_refused_by_name(
    client: httpx.AsyncClient, services: Services
) -> None:
    tests = {
        f"test/{label}/{i}.png": picture((9 * i, side, 7))
        for side, label in enumerate("ab")
        for i in range(3)
    }
    only_test = tests | {"test/c/9.png": picture((1, 2, 250))}
    trains = {
        f"train/{label}/{i}.png": picture((i, side, 99)) for side, label in enumerate("ab") for i in range(3)
    }
    for files, reason in ((tests, "no examples to train on"), (only_test | trains, "no example of 'c'")):
        reply = await client.post("/v1/datasets", files={"archive": zip_files(files)})
        job = await run_job(services, client, reply.json()["job"])
        assert job["state"] == "succeeded"
        for strategy in ("lite_fewshot", "custom_manyshot"):
            body = {"strategy": strategy, "dataset": reply.json()["id"]}
            refused = await client.post("/v1/jobs", json=body)
            assert refused.status_code == 422
            assert reason in refused.json()["detail"]
    assert any("own split train/test kept" in remark for remark in job["result"]["remarks"])
    reply = await client.post(
        "/v1/datasets", files={"archive": zip_files(tests)}, data={"own_split": "ignore"}
    )
    job = await run_job(services, client, reply.json()["job"])
    assert job["result"]["splits"]["train"] > 0
