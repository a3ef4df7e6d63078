"""Examples are taught, shown, listed and forgotten; the same image and label is one example in any race."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import unicodedata
import uuid

import httpx
import pytest
from PIL import Image

from app.bootstrap import Services
from tests.conftest import ClientMaker
from tests.learning import ask, get_json, picture, teach
from tests.photos import encode_photo, photo

EXAMPLES = "/v1/collections/default/examples"
DEADLINE_S = 60.0


async def is_dropped(services: Services, sha256: str) -> bool:
    """Whether the image is dropped before the deadline."""
    for _ in range(int(DEADLINE_S / 0.02)):
        try:
            await services.blobs.get(sha256)
        except FileNotFoundError:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_several_images_become_several_examples_in_order(client: httpx.AsyncClient) -> None:
    added = await teach(client, "noise", *(picture(seed) for seed in range(4)))
    assert [example["created"] for example in added] == [True] * 4
    assert len({example["id"] for example in added}) == 4
    for seed, example in enumerate(added):
        thumbnail = await client.get(example["image"])
        assert Image.open(io.BytesIO(thumbnail.content)).size == (96, 96)
        hits = await client.post("/v1/search", params={"top_k": 1}, files={"image": picture(seed)})
        assert hits.json()["data"][0]["id"] == example["id"]


async def test_the_same_image_and_label_is_the_same_example(client: httpx.AsyncClient) -> None:
    (first,) = await teach(client, "noise", picture(1))
    again = await teach(client, "  noise ", picture(1), picture(1), picture(2))
    assert [example["created"] for example in again] == [False, False, True]
    assert again[0]["id"] == again[1]["id"] == first["id"]
    (other,) = await teach(client, "other", picture(1))
    assert other["id"] != first["id"]
    assert other["created"]
    version = (await get_json(client, "/v1/collections/default"))["version"]
    await teach(client, "noise", picture(2))
    assert (await get_json(client, "/v1/collections/default"))["version"] == version


async def test_twenty_at_once_make_one_example(client: httpx.AsyncClient) -> None:
    replies = await asyncio.gather(*(teach(client, "noise", picture(7)) for _ in range(20)))
    assert len({example["id"] for (example,) in replies}) == 1
    assert sum(example["created"] for (example,) in replies) == 1
    assert len((await get_json(client, EXAMPLES))["data"]) == 1
    assert (await get_json(client, "/v1/collections/default"))["version"] == 1


async def test_many_writers_lose_nothing(client: httpx.AsyncClient) -> None:
    await asyncio.gather(*(teach(client, f"label {seed % 3}", picture(seed)) for seed in range(24)))
    row = await get_json(client, "/v1/collections/default")
    assert (row["examples"], row["labels"], row["version"]) == (24, 3, 24)
    assert (await ask(client, picture(5)))["label"] == "label 2"


async def test_what_was_taught_is_known_to_the_next_request(client: httpx.AsyncClient) -> None:
    await teach(client, "first", picture(0))
    for seed in range(1, 6):
        await teach(client, f"label {seed}", picture(seed))
        assert (await ask(client, picture(seed)))["label"] == f"label {seed}"


async def test_forgetting_takes_the_label_with_the_last_example(client: httpx.AsyncClient) -> None:
    one, two = await teach(client, "a", picture(1), picture(2))
    await teach(client, "b", picture(3))
    assert (await client.delete(f"{EXAMPLES}/{one['id']}")).status_code == 204
    assert [
        row["examples"] for row in (await get_json(client, "/v1/collections/default/labels"))["data"]
    ] == [
        1,
        1,
    ]
    assert (await client.delete(f"{EXAMPLES}/{two['id']}")).status_code == 204
    assert [row["label"] for row in (await get_json(client, "/v1/collections/default/labels"))["data"]] == [
        "b"
    ]
    answer = await ask(client, picture(1))
    assert [score["label"] for score in answer["scores"]] == ["b"]
    for path in (f"{EXAMPLES}/{one['id']}", f"{EXAMPLES}/{one['id']}/image"):
        assert (await client.get(path)).status_code == 404
    assert (await client.delete(f"{EXAMPLES}/{one['id']}")).status_code == 404
    (back,) = await teach(client, "a", picture(1))
    assert back["created"]
    assert (await ask(client, picture(1)))["label"] == "a"


async def test_forgetting_everything_leaves_an_empty_collection(client: httpx.AsyncClient) -> None:
    (one,) = await teach(client, "a", picture(1))
    await ask(client, picture(1))
    await client.delete(f"{EXAMPLES}/{one['id']}")
    reply = await client.post("/v1/classify", files={"image": picture(1)})
    assert reply.json()["error"]["code"] == "empty_collection"


async def test_an_image_goes_with_the_last_example_that_shows_it(
    make_client: ClientMaker, services: Services
) -> None:
    mine, theirs = await make_client(), await make_client()
    image = picture(1234)
    (one,) = await teach(mine, "a", image)
    (two,) = await teach(mine, "b", image)
    (other,) = await teach(theirs, "c", image)
    assert one["image_sha256"] == two["image_sha256"] == other["image_sha256"]
    await mine.delete(f"{EXAMPLES}/{one['id']}")
    await mine.delete(f"{EXAMPLES}/{two['id']}")
    await services.learning.close()  # whatever was to be dropped is dropped now
    assert await services.blobs.get(one["image_sha256"])
    assert (await theirs.get(other["image"])).status_code == 200
    await theirs.delete(f"{EXAMPLES}/{other['id']}")
    assert await is_dropped(services, one["image_sha256"])


async def test_a_dropped_collection_takes_its_images_along(
    client: httpx.AsyncClient, services: Services
) -> None:
    await client.post("/v1/collections", json={"name": "short"})
    added = await teach(client, "a", picture(771), picture(772), collection="short")
    await client.delete("/v1/collections/short")
    for example in added:
        assert await is_dropped(services, example["image_sha256"])


async def test_teaching_and_forgetting_the_same_image_never_loses_it(client: httpx.AsyncClient) -> None:
    async def flicker(label: str) -> None:
        for _ in range(8):
            (one,) = await teach(client, label, picture(4321))
            await client.delete(f"{EXAMPLES}/{one['id']}")

    (kept,) = await teach(client, "kept", picture(1))
    await asyncio.gather(*(flicker(f"label {index}") for index in range(4)))
    (last,) = await teach(client, "last", picture(4321))
    assert (await client.get(last["image"])).status_code == 200
    assert (await client.get(kept["image"])).status_code == 200


async def test_one_broken_image_among_several_stores_nothing(
    client: httpx.AsyncClient, services: Services
) -> None:
    blobs = services.settings.server.data_dir / "blobs"
    before = {path for path in blobs.rglob("*") if path.is_file()}
    files = [("images", picture(9001)), ("images", b"GIF89a broken"), ("images", picture(9002))]
    reply = await client.post(EXAMPLES, data={"label": "x"}, files=files)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_image")
    assert reply.json()["detail"].startswith("Image 2 of 3: ")
    assert (await get_json(client, EXAMPLES))["data"] == []
    assert (await get_json(client, "/v1/collections/default/labels"))["data"] == []
    assert {path for path in blobs.rglob("*") if path.is_file()} == before


async def test_the_last_description_that_says_something_wins(client: httpx.AsyncClient) -> None:
    async def get_description() -> str:
        (row,) = (await get_json(client, "/v1/collections/default/labels"))["data"]
        return str(row["description"])

    await teach(client, "mug", picture(1), description="white  ceramic")
    assert await get_description() == "white ceramic"
    await teach(client, "mug", picture(1))
    assert await get_description() == "white ceramic"
    version = (await get_json(client, "/v1/collections/default"))["version"]
    (same,) = await teach(client, "mug", picture(1), description="blue")
    assert not same["created"]
    assert await get_description() == "blue"
    assert (await get_json(client, "/v1/collections/default"))["version"] == version + 1


async def test_labels_are_kept_in_one_spelling(client: httpx.AsyncClient) -> None:
    (one,) = await teach(client, unicodedata.normalize("NFD", "café  crème"), picture(1))
    assert one["label"] == unicodedata.normalize("NFC", "café crème")
    (two,) = await teach(client, unicodedata.normalize("NFC", "café crème"), picture(1))
    assert two["id"] == one["id"]
    listed = await get_json(client, EXAMPLES, label=unicodedata.normalize("NFD", "café crème"))
    assert len(listed["data"]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"label": " "},
        {"label": "x" * 1001},
        {"label": "a\u200e\u0000b"},
        {"label": "a\nb\u0008"},
        {"label": ["a", "b"]},
        {"label": "a", "lable": "b"},
        {"label": "a", "description": "x" * 1001},
    ],
)
async def test_a_label_must_be_printable_text(client: httpx.AsyncClient, fields: dict[str, str]) -> None:
    reply = await client.post(EXAMPLES, data=fields, files={"images": picture(1)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_input")


async def test_nothing_of_a_files_metadata_is_kept(client: httpx.AsyncClient, services: Services) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    (one,) = await teach(client, "cat", encode_photo(photo("chelsea"), exif=exif))
    stored = await services.blobs.get(one["image_sha256"])
    assert hashlib.sha256(stored).hexdigest() == one["image_sha256"]
    assert b"taken at home" not in stored
    (same,) = await teach(client, "cat", encode_photo(photo("chelsea")))
    assert same["id"] == one["id"]


async def test_a_thumbnail_is_small_and_remembered_by_browsers(client: httpx.AsyncClient) -> None:
    (one,) = await teach(client, "cat", encode_photo(photo("chelsea")))
    reply = await client.get(one["image"])
    assert reply.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(reply.content)).size) == 256
    assert "private" in reply.headers["cache-control"]
    small = await client.get(one["image"], params={"size": 32})
    assert max(Image.open(io.BytesIO(small.content)).size) == 32
    assert small.headers["etag"] != reply.headers["etag"]
    known = await client.get(one["image"], headers={"If-None-Match": reply.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    for size in ("8", "5000", "x"):
        assert (await client.get(one["image"], params={"size": size})).status_code == 422


async def test_examples_are_listed_by_label_in_pages(client: httpx.AsyncClient) -> None:
    await teach(client, "b", *(picture(seed) for seed in range(3)))
    await teach(client, "a", *(picture(seed) for seed in range(3, 5)))
    rows, cursor = [], None
    while True:
        page = await get_json(client, EXAMPLES, limit=2, **({"cursor": cursor} if cursor else {}))
        rows += page["data"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [row["label"] for row in rows] == ["a", "a", "b", "b", "b"]
    assert len({row["id"] for row in rows}) == 5
    only = await get_json(client, EXAMPLES, label="a")
    assert [row["id"] for row in only["data"]] == [row["id"] for row in rows[:2]]
    assert await get_json(client, f"{EXAMPLES}/{rows[0]['id']}") == rows[0]


@pytest.mark.parametrize("example", ["x", "0", str(uuid.UUID(int=0)), "%00"])
async def test_an_unknown_example_is_not_found(client: httpx.AsyncClient, example: str) -> None:
    for reply in [
        await client.get(f"{EXAMPLES}/{example}/image"),
        await client.delete(f"{EXAMPLES}/{example}"),
    ]:
        assert reply.status_code == 404


async def test_images_that_nothing_shows_are_swept_once_they_are_old(
    client: httpx.AsyncClient, services: Services
) -> None:
    await services.learning.sweep()  # what other tests left behind may be as old by now
    (one,) = await teach(client, "cat", picture(1))
    orphan, fresh = (hashlib.sha256(data).hexdigest() for data in (b"orphan", b"fresh"))
    await services.blobs.put(orphan, b"orphan")
    await services.blobs.put(fresh, b"fresh")
    for sha256 in (orphan, one["image_sha256"]):
        os.utime(services.settings.server.data_dir / "blobs" / sha256[:2] / sha256, (0, 0))
    assert await services.learning.sweep() == 1
    assert await is_dropped(services, orphan)
    assert await services.blobs.get(fresh) == b"fresh"
    assert (await client.get(one["image"])).status_code == 200
