"""`POST /augment`: what augmentation makes of an image, on one sheet."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from app.access import Recogniser
from app.collections.dependencies import UPLOAD_ERRORS
from app.http.dependencies import AppSettings, DecodePool
from app.http.fields import Form, at_most
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.media.augmentation import AugmentationSettings, contact_sheet
from app.media.images import ImageLimits, decode

router = APIRouter(tags=["strategies"])

DEFAULT_COUNT = 15
_SIDE = 224
"""Pixels that most models look at; more of an image is not worth changing for a sheet."""
MAX_SEED = 2**32 - 1


class PreviewForm(Form, AugmentationSettings):
    """How the copies are changed, and how many there are."""

    count: (
        Annotated[int, Field(ge=1), at_most(lambda settings: settings.limits.max_preview_images)] | None
    ) = Field(None, description="Changed copies.", json_schema_extra={"default": DEFAULT_COUNT})
    seed: int = Field(0, ge=0, le=MAX_SEED, description="The same seed gives the same sheet.")


UPLOAD = UploadForm(PreviewForm, images="one")
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image and its changed copies, as a PNG.", "content": {"image/png": {}}}
}


@router.post(
    "/augment",
    response_class=Response,
    responses={**_PICTURE, **responses(*UPLOAD_ERRORS)},
    openapi_extra=UPLOAD.openapi(),
)
async def augment(
    caller: Recogniser,
    upload: Annotated[ReceivedForm[PreviewForm], Depends(UPLOAD)],
    settings: AppSettings,
    pool: DecodePool,
) -> Response:
    """Show what training would show a model instead of an image."""
    form = upload.fields
    count = form.count or min(DEFAULT_COUNT, settings.limits.max_preview_images)
    limits = ImageLimits.from_settings(settings)

    def draw() -> bytes:
        image = decode(upload.images[0].read(), limits, input_size=_SIDE)
        image.thumbnail((2 * _SIDE, 2 * _SIDE))
        buffer = io.BytesIO()
        contact_sheet(image, count, form, form.seed).save(buffer, "PNG")
        return buffer.getvalue()

    work = asyncio.get_running_loop().run_in_executor(pool, draw)
    return Response(await work, media_type="image/png")
