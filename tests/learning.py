"""Small pictures and the calls that teach and ask about them, for the tests of learning.

Knows the HTTP surface; knows nothing of what is behind it.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.photos import encode_photo


def picture(seed: int) -> bytes:
    """A small image unlike those of other seeds."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return encode_photo(Image.fromarray(blocks).resize((96, 96)), "PNG")


async def teach(
    client: httpx.AsyncClient, label: str, *images: bytes, collection: str = "default", **fields: str
) -> list[dict[str, Any]]:
    """One entry for each image."""
    reply = await client.post(
        f"/v1/collections/{collection}/examples",
        data={"label": label, **fields},
        files=[("images", image) for image in images],
    )
    assert reply.status_code == 201, reply.text
    entries: list[dict[str, Any]] = reply.json()["data"]
    return entries


async def ask(client: httpx.AsyncClient, image: bytes, **params: Any) -> dict[str, Any]:
    """The answer to one image; everything is accepted."""
    reply = await client.post("/v1/classify", params={"threshold": 0} | params, files={"image": image})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def make(client: httpx.AsyncClient, name: str, encoder: str = "lite") -> None:
    """An empty collection."""
    reply = await client.post("/v1/collections", json={"name": name, "encoder": encoder})
    assert reply.status_code == 201, reply.text


async def get_json(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    """What a GET answers."""
    reply = await client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()
