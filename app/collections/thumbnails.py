"""An example's image as a small JPEG, which clients may keep: an example never changes its image."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from app.errors import NotFoundError
from app.http.fields import WholeNumber
from app.media import images
from app.media.images import ImageLimits
from app.storage.blobs import BlobStore

Size = Annotated[int, Query(ge=16, le=1024, description="Longest side in pixels."), WholeNumber]


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
        small = await asyncio.get_running_loop().run_in_executor(
            self.pool, images.thumbnail, data, size, self.limits
        )
        return Response(small, media_type="image/jpeg", headers=headers)
