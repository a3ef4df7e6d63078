"""Reads the JSON bodies and the images of other services' clients: unknown fields are ignored, wrong ones are 400."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import BadRequestError, InvalidInputError, TooLargeError
from app.http.base64_images import decode_text, is_web_address
from app.http.dependencies import close_with_request, service_of
from app.http.errors import ImageUrlNotFetchedError, TooManyPartsError
from app.http.forms import Upload, convert_images
from app.http.limits import check_values, count_values
from app.http.spool import Entry, Spool
from app.http.wrong_fields import complaint, join_location
from app.settings import Settings

_MIB = 1024 * 1024


class Body(BaseModel):
    """A JSON body; members it does not name are ignored."""

    model_config = ConfigDict(extra="ignore")


AnyBody = TypeVar("AnyBody", bound=BaseModel)


async def read_body(request: Request, kind: type[AnyBody]) -> AnyBody:
    """The request's JSON as a `kind`. Raises BadRequestError, which names the first wrong field in `param`."""
    settings = service_of(request, "settings", Settings)
    return await asyncio.to_thread(parse_body, await request.body(), kind, settings)


def parse_body(body: bytes, kind: type[AnyBody], settings: Settings) -> AnyBody:
    """See `read_body`; whatever content type it came with, it holds no more values than JSON may. Blocks."""
    check_values(count_values(body), settings)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise BadRequestError("The body is not valid JSON.") from None
        place = join_location(first["loc"])[:80].encode("ascii", "replace").decode()
        raise BadRequestError(f"{place or 'body'}: {complaint(first)}.", param=place or None) from None


async def read_images(request: Request, texts: Sequence[str], field: str) -> list[Entry]:
    """Images written as base64 or data: URIs, which are gone when the request ends; `field` is what errors name.

    Raises ImageUrlNotFetchedError for an address, BadRequestError for what is neither, TooManyPartsError,
    TooLargeError, TooManyUploadsError, and what reading an image raises.
    """
    settings, spool = service_of(request, "settings", Settings), service_of(request, "spool", Spool)
    limits = settings.limits
    if len(texts) > limits.max_images:
        raise TooManyPartsError(f"One request takes at most {limits.max_images} images.")
    if any(is_web_address(text) for text in texts):
        raise ImageUrlNotFetchedError(param=field)
    try:
        decoded = await asyncio.to_thread(lambda: [decode_text(field, text) for text in texts])
    except InvalidInputError as error:
        raise BadRequestError(error.detail, param=field) from None
    return await keep_images(request, decoded, settings, spool)


def check_texts(texts: Sequence[str], field: str, settings: Settings) -> None:
    """Raises BadRequestError for none at all, too many, empty or too long ones."""
    limits = settings.limits
    if not texts or not all(text.strip() for text in texts):
        raise BadRequestError(f"{field}: send a text or a list of texts, none of them empty.", param=field)
    if len(texts) > limits.max_texts:
        raise BadRequestError(f"{field}: at most {limits.max_texts} texts.", param=field)
    if any(len(text) > limits.max_text_chars for text in texts):
        raise BadRequestError(f"{field}: a text has at most {limits.max_text_chars} characters.", param=field)


def check_labels(labels: Sequence[str], field: str, settings: Settings, *, least: int = 1) -> list[str]:
    """The labels without blanks around them, each once; raises BadRequestError as `check_texts` does."""
    named = list(dict.fromkeys(label.strip() for label in labels))
    if len(named) < least or not all(named):
        raise BadRequestError(
            f"{field}: name at least {least} label{'s'[: least - 1]}, none of them empty.", param=field
        )
    if len(named) > settings.limits.max_labels:
        raise BadRequestError(f"{field}: at most {settings.limits.max_labels} labels.", param=field)
    if any(len(label) > settings.limits.max_text_chars for label in named):
        raise BadRequestError(
            f"{field}: a label has at most {settings.limits.max_text_chars} characters.", param=field
        )
    return named


async def keep_images(
    request: Request, images: Sequence[bytes], settings: Settings, spool: Spool
) -> list[Entry]:
    """Images as the services take them, which are gone when the request ends; raises as `read_images` does."""
    if any(len(image) > settings.limits.max_part_mb * _MIB for image in images):
        raise TooLargeError(f"One image has at most {settings.limits.max_part_mb} MiB.")
    entries: list[Entry] = []
    close_with_request(request, Upload(entries).close)
    for image in images:
        entry = spool.open()
        entries.append(entry)
        entry.write(image)
    await convert_images(request, entries, settings, spool)
    return entries


def describe_body(kind: type[AnyBody]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a `kind` by itself."""
    schema = kind.model_json_schema(ref_template=f"#/components/schemas/{kind.__name__}-{{model}}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inline(schema)}}}}


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without definitions beside it: each stands where it is referred to (none refers to itself)."""
    known = schema.pop("$defs", {})

    def replace(node: Any) -> Any:
        if isinstance(node, list):
            return [replace(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return replace(known[node["$ref"].rpartition("-")[2]])
        return {name: replace(value) for name, value in node.items()}

    inlined: dict[str, Any] = replace(schema)
    return inlined
