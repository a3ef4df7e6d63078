"""What `/embeddings` is asked to embed: a form or raw image as everywhere, or OpenAI's JSON and its `input`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import Field

from app.collections.routes.embedding_dialects import (
    EmbeddingsRequest,
    Encoding,
    ParsedRequest,
    parse_request,
)
from app.errors import InvalidInputError, TooLargeError
from app.http.base64_images import decode_text
from app.http.dependencies import AppSettings, UploadSpool
from app.http.errors import TooManyPartsError
from app.http.fields import Form, parse_fields
from app.http.forms import convert_images, read_upload
from app.http.multipart import check_text
from app.http.spool import Entry
from app.http.upload_forms import UploadForm
from app.settings import Settings

_MIB = 1024 * 1024
IMAGES_PATH = "/embeddings_image"
"""Where an older version of infinity took images."""


class EmbeddingsForm(Form):
    """The same beside images in parts of their own."""

    input: list[str] = Field([], description="Texts; they follow the images.")
    model: str | None = Field(
        None,
        description="An encoder, or a trained classifier, whose encoder is meant; the default encoder if empty.",
    )
    encoding_format: Encoding = "float"
    user: str | None = None


@dataclass
class Inputs:
    """What to embed, and in which order it came."""

    images: list[Entry] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """For each input its place among all images, followed by all texts."""
    model: str | None = None
    encoding: Encoding = "float"
    dimensions: int | None = None
    """The length that was asked for; None: whatever it is."""


async def receive_inputs(
    request: Request, settings: AppSettings, spool: UploadSpool
) -> AsyncIterator[Inputs]:
    """A dependency that reads the inputs and closes their images however the request ends.

    Raises what `app.http.forms.read_upload` raises.
    """
    inputs = Inputs()
    try:
        if _is_json(request):
            wanted, images = await asyncio.to_thread(
                _parse_body, await request.body(), settings, are_images=request.url.path == IMAGES_PATH
            )
            for image in images:
                entry = spool.open()
                inputs.images.append(entry)
                entry.write(image)
            await convert_images(request, inputs.images, settings, spool)
            inputs.texts, inputs.order = _arrange(wanted, len(images))
            inputs.model, inputs.encoding = wanted.model, wanted.encoding
            inputs.dimensions = wanted.dimensions
        else:
            upload = await read_upload(request, settings, spool)
            inputs.images = upload.images  # closed below, whatever comes
            upload.take_images("input", spool)
            await convert_images(request, inputs.images, settings, spool)
            form = parse_fields(EmbeddingsForm, upload.fields, settings)
            inputs.texts = form.input
            inputs.order = list(range(len(inputs.images) + len(inputs.texts)))
            inputs.model, inputs.encoding = form.model, form.encoding_format
        _check(inputs, settings)
        yield inputs
    finally:
        for entry in inputs.images:
            entry.close()


def request_body() -> dict[str, Any]:
    """`openapi_extra` of the route."""
    body = UploadForm(EmbeddingsForm, images="any").openapi()
    schema = EmbeddingsRequest.model_json_schema()
    known = schema.pop("$defs")
    one = {"anyOf": [{"type": "string"}, known["ImageInput"], known["TextInput"]]}
    message = {"type": "object", "description": "`content`: a text, or parts as in chat completions."}
    schema["properties"]["messages"] = {
        "type": "array",
        "items": message,
        "description": schema["properties"]["messages"]["description"],
    }
    schema["properties"]["input"] = {
        "anyOf": [*one["anyOf"], {"type": "array", "items": one}],
        "description": "Texts and images, in any order; a text that is a data: URI is an image.",
    }
    body["requestBody"]["content"]["application/json"] = {"schema": schema}
    body["requestBody"]["required"] = True
    return body


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _parse_body(body: bytes, settings: Settings, *, are_images: bool) -> tuple[ParsedRequest, list[bytes]]:
    """The request and its images' bytes."""
    wanted = parse_request(body, are_images=are_images)
    written = [item.value for item in wanted.items if item.kind == "image"]
    if len(written) > settings.limits.max_images:
        raise TooManyPartsError(f"One request takes at most {settings.limits.max_images} images.")
    images = [decode_text("input", text) for text in written]
    if any(len(image) > settings.limits.max_part_mb * _MIB for image in images):
        raise TooLargeError(f"One image has at most {settings.limits.max_part_mb} MiB.")
    return wanted, images


def _arrange(wanted: ParsedRequest, images: int) -> tuple[list[str], list[int]]:
    """The texts, and for each input its place among all images, followed by all texts."""
    texts: list[str] = []
    order: list[int] = []
    seen = 0
    for item in wanted.items:
        if item.kind == "text":
            order.append(images + len(texts))
            texts.append(check_text("input", item.value))
        else:
            order.append(seen)
            seen += 1
    return texts, order


def _check(inputs: Inputs, settings: Settings) -> None:
    if not inputs.order:
        raise InvalidInputError("input, image: send at least one text or image.")
    if len(inputs.texts) > settings.limits.max_texts:
        raise InvalidInputError(f"input: at most {settings.limits.max_texts} texts.")
    for text in inputs.texts:
        if not text.strip():
            raise InvalidInputError("input: a text is empty.")
        if len(text) > settings.limits.max_text_chars:
            raise InvalidInputError(f"input: a text has at most {settings.limits.max_text_chars} characters.")


Received = Annotated[Inputs, Depends(receive_inputs)]
