"""Uploads in every dress, and every way to get one wrong."""

from __future__ import annotations

import base64
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.http import problems
from app.http.fields import CommaSeparated, Form, parse_fields
from app.http.forms import read_upload
from app.http.limits import LimitsMiddleware
from app.http.spool import IN_MEMORY_BYTES, Spool
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.settings import Settings

IMAGE = b"\xff\xd8\xff\xe0 not really a jpeg \x00\r\n--b\r\n\xff\xd9"
BASE64 = base64.b64encode(IMAGE).decode()
FORM = {"content-type": "multipart/form-data; boundary=bound"}
JSON = {"content-type": "application/json"}


class Room:
    """An app that answers with what it read."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir, max_body_mb=8, max_part_mb=4, max_images=5, max_parts=9)
        self.spool = Spool(data_dir / "tmp", 64 << 20)
        self.folder = data_dir / "tmp"
        app = FastAPI()
        problems.install(app)
        app.add_middleware(LimitsMiddleware, settings=self.settings)
        app.add_middleware(ObservabilityMiddleware, metrics=Metrics())

        @app.post("/")
        async def read(request: Request) -> dict[str, Any]:
            with await read_upload(request, self.settings, self.spool) as upload:
                return {"images": [image.read().hex() for image in upload.images], "fields": upload.fields}

        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1"
        )


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("room"))


@pytest.fixture(autouse=True)
def _nothing_is_left(room: Room) -> Any:
    yield
    assert room.spool.held == 0
    assert list(room.folder.iterdir()) == []


def images(reply: httpx.Response) -> list[bytes]:
    assert reply.status_code == 200, reply.text
    return [bytes.fromhex(digits) for digits in reply.json()["images"]]


async def test_multipart_keeps_order_repeats_and_bytes(room: Room) -> None:
    reply = await room.client.post(
        "/?label=ignored&top_k=3",
        files=[
            ("image", ("a.jpg", IMAGE, "image/jpeg")),
            ("label", (None, "кот")),
            ("images", ("b.exe", b"", "application/x-msdownload")),
            ("label", (None, "cat, kitten")),
            ("image[]", ("c", b"third", "text/plain; charset=utf-16")),
        ],
    )
    assert images(reply) == [IMAGE, b"", b"third"]
    assert reply.json()["fields"] == {"label": ["кот", "cat, kitten"], "top_k": ["3"]}


async def test_an_image_part_needs_no_file_name(room: Room) -> None:
    assert images(await room.client.post("/", files=[("image", (None, IMAGE))])) == [IMAGE]


async def test_a_raw_image_takes_its_fields_from_the_query(room: Room) -> None:
    reply = await room.client.post(
        "/?labels=a&labels=b%2Cc", content=IMAGE, headers={"content-type": "IMAGE/JPEG; x=y"}
    )
    assert images(reply) == [IMAGE]
    assert reply.json()["fields"] == {"labels": ["a", "b,c"]}


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        BASE64.rstrip("="),
        base64.urlsafe_b64encode(IMAGE).decode(),
        "\n".join(BASE64[i : i + 20] for i in range(0, len(BASE64), 20)),
        f"data:image/jpeg;base64,{BASE64}",
        f"DATA:;base64,{BASE64}",
        f"data:image/png;name=x.png;base64,{BASE64}",
    ],
)
async def test_json_carries_base64_and_data_uris(room: Room, text: str) -> None:
    assert images(await room.client.post("/", json={"image": text})) == [IMAGE]


async def test_json_members_become_fields(room: Room) -> None:
    reply = await room.client.post(
        "/?threshold=9",
        json={
            "images": [BASE64, None, BASE64],
            "labels": ["a", "b", 3],
            "threshold": 0.25,
            "collection": None,
            "flag": True,
        },
    )
    assert images(reply) == [IMAGE, IMAGE]
    assert reply.json()["fields"] == {"labels": ["a", "b", "3"], "threshold": ["0.25"], "flag": ["true"]}


async def test_a_large_image_goes_through_the_folder_and_comes_out_whole(room: Room) -> None:
    large = IMAGE * (2 * IN_MEMORY_BYTES // len(IMAGE))
    for request in (
        {"files": [("image", ("a", large))]},
        {"content": large, "headers": {"content-type": "image/png"}},
        {"json": {"image": base64.b64encode(large).decode()}},
    ):
        assert images(await room.client.post("/", **request)) == [large]


async def test_no_body_at_all_leaves_the_query(room: Room) -> None:
    reply = await room.client.post("/?text=a+cat")
    assert images(reply) == []
    assert reply.json()["fields"] == {"text": ["a cat"]}


async def test_a_body_in_single_bytes_is_the_same_body(room: Room) -> None:
    whole = httpx.Request("POST", "http://x/", files=[("image", ("a", IMAGE)), ("label", (None, "x"))])
    body = whole.read()

    async def bytewise() -> AsyncIterator[bytes]:
        for i in range(len(body)):
            yield body[i : i + 1]

    reply = await room.client.post(
        "/", content=bytewise(), headers={"content-type": whole.headers["content-type"]}
    )
    assert images(reply) == [IMAGE]
    assert reply.json()["fields"] == {"label": ["x"]}


@pytest.mark.parametrize("copies", [1, 2 * IN_MEMORY_BYTES // len(IMAGE)])
async def test_a_data_uri_in_a_part_or_as_the_body_is_its_image(room: Room, copies: int) -> None:
    image = IMAGE * copies
    uri = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    assert images(await room.client.post("/", files=[("image", (None, uri)), ("label", (None, "x"))])) == [
        image
    ]
    form = await room.client.post("/", files=[("images", ("a", IMAGE)), ("images", (None, f"\n{uri}\n"))])
    assert images(form) == [IMAGE, image]
    raw = await room.client.post("/", content=uri, headers={"content-type": "image/png"})
    assert images(raw) == [image]


async def test_a_data_uri_out_of_an_address_is_its_image(room: Room) -> None:
    escaped = BASE64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert "%" in escaped
    assert images(await room.client.post("/", json={"image": f"data:image/png;base64,{escaped}"})) == [IMAGE]


@pytest.mark.parametrize("address", ["https://example.org/cat.jpg", " HTTP://example.org/cat.jpg"])
async def test_an_address_in_the_place_of_an_image_is_refused_by_name(room: Room, address: str) -> None:
    for request in (
        {"files": [("image", (None, address))]},
        {"content": address, "headers": {"content-type": "image/jpeg"}},
        {"json": {"images": [address]}},
    ):
        reply = await room.client.post("/", **request)
        assert reply.status_code == 422
        assert "addresses are not fetched" in reply.json()["detail"]


# --- garbage


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "video/mp4",
        "",
        "nonsense",
        "///",
    ],
)
async def test_other_kinds_of_bodies_are_415(room: Room, kind: str) -> None:
    reply = await room.client.post("/", content=IMAGE, headers={"content-type": kind})
    assert reply.status_code == 415
    assert "multipart/form-data" in reply.json()["detail"]


PART = b'--bound\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=bound"),
        (b"garbage", "multipart/form-data; boundary=bound"),
        (PART, "multipart/form-data; boundary=bound"),
        (PART + b"cut off", "multipart/form-data; boundary=bound"),
        (PART + b"x\r\n--other--\r\n", "multipart/form-data; boundary=bound"),
        (PART + b"x\r\n--bound--\r\n", "multipart/form-data"),
        (PART + b"x\r\n--bound--\r\n", "multipart/form-data; boundary="),
        (PART + b"x\r\n--bound--\r\n", "multipart/form-data; boundary=" + "b" * 500),
        (
            b"--bound\r\nContent-Disposition: form-data\r\n\r\nx\r\n--bound--\r\n",
            "multipart/form-data; boundary=bound",
        ),
        (b"--bound\r\n\r\nx\r\n--bound--\r\n", "multipart/form-data; boundary=bound"),
        (
            b"--bound\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--bound--\r\n",
            "multipart/form-data; boundary=bound",
        ),
        (
            b"--bound\r\n" + b"X: y\r\n" * 50 + b"\r\nx\r\n--bound--\r\n",
            "multipart/form-data; boundary=bound",
        ),
        (
            b'--bound\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nx\r\n--bound--\r\n',
            "multipart/form-data; boundary=bound",
        ),
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 50_000, "application/json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "application/json"),
    ],
)
async def test_malformed_bodies_are_400(room: Room, body: bytes, kind: str) -> None:
    reply = await room.client.post("/", content=body, headers={"content-type": kind})
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "3",
        "null",
        '{"image": 3}',
        '{"image": "not base64!"}',
        '{"image": "data:image/png,plain"}',
        '{"image": "https://example.org/cat.jpg"}',
        '{"image": "file:///etc/passwd"}',
        '{"image": {"url": "x"}}',
        '{"images": [["x"]]}',
        '{"labels": {"a": 1}}',
        '{"labels": [[1]]}',
        '{"label": "a\\u0000b"}',
        '{"label": "\\ud800"}',
        '{"\\ud800": "x"}',
    ],
)
async def test_json_that_makes_no_sense_is_422(room: Room, body: str) -> None:
    reply = await room.client.post("/", content=body, headers=JSON)
    assert reply.status_code == 422, reply.text


async def test_text_that_is_no_text_is_422(room: Room) -> None:
    for value in (b"\xff\xfe", b"a\x00b"):
        reply = await room.client.post("/", files=[("label", (None, value))])
        assert reply.status_code == 422
        assert "label" in reply.json()["detail"]
    assert (await room.client.post("/?label=a%00b")).status_code == 422
    misnamed = await room.client.post("/", files=[("picture", ("a.jpg", IMAGE))])
    assert "'image'" in misnamed.json()["detail"]


async def test_images_in_json_are_counted_and_sized(room: Room) -> None:
    reply = await room.client.post("/", json={"images": [BASE64] * 6})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_parts")
    huge = base64.b64encode(b"x" * (4 * 1024 * 1024 + 1)).decode()
    reply = await room.client.post("/", json={"image": huge})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from([FORM["content-type"], "application/json", "image/png"]),
)
async def test_any_bytes_are_an_upload_or_the_clients_fault(room: Room, body: bytes, kind: str) -> None:
    reply = await room.client.post("/", content=body, headers={"content-type": kind})
    assert reply.status_code in {200, 400, 413, 422}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_a_damaged_form_never_surprises(room: Room, data: st.DataObject) -> None:
    body = bytearray(PART + IMAGE + b"\r\n" + PART.replace(b"image", b"label") + b"cup\r\n--bound--\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    reply = await room.client.post("/", content=bytes(body), headers=FORM)
    assert reply.status_code in {200, 400, 413, 422}


class Labels(Form):
    labels: CommaSeparated


async def test_items_of_json_bodies_stay_whole(room: Room) -> None:
    with await read_upload(
        json_request({"labels": ["tabby, tabby cat", "tench"]}), room.settings, room.spool
    ) as upload:
        form = parse_fields(Labels, upload.fields, room.settings)
    assert form.labels == ["tabby, tabby cat", "tench"]


def json_request(body: dict[str, Any]) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    headers = [(b"content-type", b"application/json")]
    return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)


def test_a_forgotten_upload_is_no_leak_of_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 << 20)
    entry = spool.open()
    entry.write(b"x" * (IN_MEMORY_BYTES + 1))
    assert len(entry.read()) == IN_MEMORY_BYTES + 1
    assert list(tmp_path.iterdir()) == []  # the file has no name
    entry.close()
    entry.close()
    assert spool.held == 0
    gc.collect()
