"""An example's image as a small JPEG, which clients may keep: an example never changes its image."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response
from PIL import Image

from app.errors import NotFoundError
from app.http.fields import WholeNumber
from app.media import images
from app.media.images import ImageLimits
from app.storage.blobs import BlobStore

Size = Annotated[int, Query(ge=16, le=1024, description="Longest side in pixels."), WholeNumber]


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


@dataclass(eq=False)
class Thumbnails:
    """Stored images, scaled down in the pool."""

    blobs: BlobStore
    limits: ImageLimits
    pool: ThreadPoolExecutor

    async def respond(self, request: Request, image_sha256: str, size: int, gone: NotFoundError) -> Response:
        """The JPEG, or 304 where the client has it; raises `gone` when the image is no longer there."""
        headers = {
            "ETag": f'"{image_sha256}-{size}"',
            "Cache-Control": "private, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'",
        }
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        try:
            data = await self.blobs.get(image_sha256)
        except FileNotFoundError:
            raise gone from None
        small = await self._scale(data, size)
        return Response(small, media_type="image/jpeg", headers=headers)

    async def read(self, image_sha256: str, size: int) -> Thumbnail | None:
        """The JPEG and its size; None where the image is no longer there."""
        try:
            small = await self._scale(await self.blobs.get(image_sha256), size)
        except FileNotFoundError:
            return None
        with Image.open(io.BytesIO(small)) as image:
            return Thumbnail(small, *image.size)

    async def _scale(self, data: bytes, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, images.thumbnail, data, size, self.limits)
