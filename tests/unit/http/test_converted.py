"""Images that are decoded in processes of their own are waited for as long as somebody wants them, and no longer."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.collections.routes.embedding_input import receive_inputs
from app.errors import OverloadedError
from app.http.forms import read_upload
from app.media import converting
from tests.image_files import encode_image, gradient
from tests.unit.http.room import Room

AVIF = base64.b64encode(encode_image(gradient(64, 48), "AVIF")).decode()


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("room"))


@pytest.fixture
def all_busy(room: Room) -> Iterator[None]:
    """Every decoder is taken."""
    count, taken = room.settings.limits.decoders, []
    deadline = time.monotonic() + 60
    while len(taken) < count:  # one may be held for a moment by what ends
        if (give_back := converting._SLOTS.take(count)) is not None:
            taken.append(give_back)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield
    for give_back in taken:
        give_back()


def send(body: bytes, kind: bytes = b"application/json") -> Request:
    """A request whose client has sent all and leaves."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "query_string": b""}
    return Request({**scope, "headers": [(b"content-type", kind)]}, receive)


async def test_nobody_waits_for_a_client_that_has_left(room: Room, all_busy: None) -> None:
    with pytest.raises(ClientDisconnect):
        await read_upload(send(json.dumps({"images": [AVIF, AVIF]}).encode()), room.settings, room.spool)
    assert room.spool.held == 0


async def test_an_image_waits_its_deadline_for_a_decoder(room: Room, all_busy: None) -> None:
    async def stay() -> dict[str, Any]:
        return messages.pop() if messages else await forever

    forever = asyncio.get_running_loop().create_future()
    messages = [{"type": "http.request", "body": json.dumps({"image": AVIF}).encode(), "more_body": False}]
    request = Request(send(b"").scope, stay)
    with pytest.raises(OverloadedError):
        await read_upload(request, room.settings.replace(deadline_s=0.2), room.spool)
    assert room.spool.held == 0
    forever.cancel()


async def test_a_form_that_is_refused_gives_its_images_back(room: Room, all_busy: None) -> None:
    uri = f"data:image/avif;base64,{AVIF}"
    parts = [
        b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n\xff\xd8\xff\xd9',
        b'Content-Disposition: form-data; name="input"\r\n\r\n' + uri.encode(),
    ]
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    with pytest.raises(ClientDisconnect):
        await anext(receive_inputs(send(body, b"multipart/form-data; boundary=b"), room.settings, room.spool))
    assert room.spool.held == 0
