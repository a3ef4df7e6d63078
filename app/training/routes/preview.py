"""`POST /augment`: what augmentation makes of an image, on one sheet.

Knows the fields and their bounds; what is done to images is in `augmentation`.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

from fastapi import APIRouter, Response
from pydantic import TypeAdapter, ValidationError

from app.collections.dependencies import UPLOAD_ERRORS, Recogniser, Uploaded
from app.errors import InvalidInputError
from app.http.dependencies import AppSettings, DecodePool
from app.http.forms import Upload
from app.http.openapi import upload_body
from app.http.problems import responses
from app.http.wrong_fields import complaints
from app.media.augmentation import AugmentationSettings, contact_sheet
from app.media.images import ImageLimits, decode

router = APIRouter(tags=["strategies"])

_USUAL_COUNT = 15
_SIDE = 224
"""Pixels that most models look at; more of an image is not worth changing for a sheet."""
_LARGEST_SEED = 2**32 - 1
_SETTINGS = TypeAdapter(AugmentationSettings)
_SETTING_FIELDS: dict[str, dict[str, Any]] = _SETTINGS.json_schema()["properties"]
_FIELDS: dict[str, dict[str, Any]] = {
    "count": {"type": "integer", "minimum": 1, "default": _USUAL_COUNT, "description": "Changed copies."},
    "seed": {
        "type": "integer",
        "minimum": 0,
        "maximum": _LARGEST_SEED,
        "default": 0,
        "description": "The same seed gives the same sheet.",
    },
    **_SETTING_FIELDS,
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image and its changed copies, as a PNG.", "content": {"image/png": {}}}
}


@router.post(
    "/augment",
    response_class=Response,
    responses={**_PICTURE, **responses(*UPLOAD_ERRORS)},
    openapi_extra=upload_body(_FIELDS, several=False),
)
async def augment(caller: Recogniser, upload: Uploaded, settings: AppSettings, pool: DecodePool) -> Response:
    """Show what training would show a model instead of an image."""
    upload.only(*_FIELDS)
    if len(upload.images) != 1:
        raise InvalidInputError("image: send exactly one.")
    count = _whole(upload, "count", 1, settings.max_preview_images, _USUAL_COUNT)
    seed = _whole(upload, "seed", 0, _LARGEST_SEED, 0)
    augmentations = _settings(upload)
    limits = ImageLimits.from_settings(settings)

    def drawn() -> bytes:
        image = decode(upload.images[0].read(), limits, input_size=_SIDE)
        image.thumbnail((2 * _SIDE, 2 * _SIDE))
        buffer = io.BytesIO()
        contact_sheet(image, count, augmentations, seed).save(buffer, "PNG")
        return buffer.getvalue()

    work = asyncio.get_running_loop().run_in_executor(pool, drawn)
    return Response(await work, media_type="image/png")


def _settings(upload: Upload) -> AugmentationSettings:
    """The fields that are augmentation's own; raises InvalidInputError naming each that is wrong."""
    given = {name: text for name in _SETTING_FIELDS if (text := upload.text(name)) is not None}
    try:
        return _SETTINGS.validate_python(given)
    except ValidationError as error:
        raise InvalidInputError(f"{complaints(error.errors())}.") from None


def _whole(upload: Upload, name: str, least: int, most: int, usual: int) -> int:
    value = upload.whole(name)
    if value is None:
        return min(usual, most)
    if not least <= value <= most:
        raise InvalidInputError(f"{name}: it lies between {least} and {most}.")
    return value
