"""Reads an upload in any of its three encodings (multipart, raw image, JSON) into images and text fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header

from app import errors
from app.http.base64_images import HEAD_BYTES, decode_text, is_data_uri, is_web_address, refuse_address
from app.http.disconnect import unless_disconnected
from app.http.errors import TooManyPartsError, UnsupportedMediaTypeError
from app.http.multipart import IMAGE_NAMES, Parts, check_text, shorten_name
from app.http.spool import Entry, Spool
from app.http.written_lists import WholeText
from app.media.converting import CONVERTED, convert_async
from app.media.errors import naming
from app.media.images import ImageLimits
from app.media.kinds import sniff
from app.settings import Settings

_LARGE_JSON = 256 * 1024
_MIB = 1024 * 1024


@dataclass
class Upload:
    """What came in: images in order, text fields by name. Close it, or use it as a context manager."""

    images: list[Entry] = field(default_factory=list)
    """Each has `size` and `read()`, which may block for large images."""
    fields: dict[str, list[str]] = field(default_factory=dict)
    """Text fields of the body, each with its values in order; query parameters fill in names the body lacks."""

    def take_images(self, name: str, spool: Spool) -> None:
        """Make images of a field's words that are data: URIs; raises InvalidInputError for an address."""
        words = []
        for text in self.fields.pop(name, []):
            if is_web_address(text):
                raise refuse_address(name)
            if not is_data_uri(text):
                words.append(text)
                continue
            entry = spool.open()
            self.images.append(entry)
            entry.write(decode_text(name, text))
        if words:
            self.fields[name] = words

    def close(self) -> None:
        """Forget every image; safe to call again."""
        for image in self.images:
            image.close()

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def read_upload(request: Request, settings: Settings, spool: Spool) -> Upload:
    """The request's upload; the caller closes it.

    Raises `TooLargeError`, `TooManyPartsError`, `UnsupportedMediaTypeError`, `BadRequestError`,
    `InvalidInputError`, `OverloadedError`, and `ClientDisconnect` when the client leaves; nothing stays open
    then.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload()
    try:
        reader = _Reader(upload, settings, spool)
        if kind == b"multipart/form-data":
            await reader.multipart(request, options.get(b"boundary"))
        elif kind.startswith(b"image/"):
            await reader.raw(request)
        elif kind == b"application/json" or kind.endswith(b"+json"):
            await reader.json(request)
        else:
            await reader.nothing(request)
        for number, entry in enumerate(upload.images):
            if _is_written(entry.head(HEAD_BYTES)):
                upload.images[number] = await _read_written(entry, spool)
        await convert_images(request, upload.images, settings, spool)
        for name in request.query_params:
            if name not in upload.fields:
                upload.fields[name] = [
                    check_text(name, value) for value in request.query_params.getlist(name)
                ]
    except BaseException:
        upload.close()
        raise
    return upload


@dataclass(eq=False)
class _Reader:
    """Fills one `Upload` from one request."""

    upload: Upload
    settings: Settings
    spool: Spool

    def image(self) -> Entry:
        """A new empty image; raises `TooManyPartsError`."""
        if len(self.upload.images) >= self.settings.limits.max_images:
            raise TooManyPartsError(f"One request takes at most {self.settings.limits.max_images} images.")
        entry = self.spool.open()
        self.upload.images.append(entry)
        return entry

    def write(self, entry: Entry, data: bytes) -> None:
        """Append to an image; raises `TooLargeError`."""
        if entry.size + len(data) > self.settings.limits.max_part_mb * _MIB:
            raise errors.TooLargeError(f"One image has at most {self.settings.limits.max_part_mb} MiB.")
        entry.write(data)

    async def multipart(self, request: Request, boundary: bytes | None) -> None:
        """A multipart body, parsed while it arrives."""
        parts = Parts(self.settings, open_image=self.image, write=self.write)
        await parts.receive(request, boundary)
        self.upload.fields = dict(parts.fields)

    async def raw(self, request: Request) -> None:
        """A body that is the one image itself."""
        entry = self.image()
        async for chunk in request.stream():
            self.write(entry, chunk)

    async def nothing(self, request: Request) -> None:
        """No body, so all fields are in the query; any other body is of no known kind."""
        async for chunk in request.stream():
            if chunk:
                raise UnsupportedMediaTypeError()

    async def json(self, request: Request) -> None:
        """An object whose `image` and `images` are base64 or data: URIs; its other members are fields."""
        body = await request.body()
        most = self.settings.limits.max_images
        large = len(body) > _LARGE_JSON
        images, fields = await asyncio.to_thread(_parse, body, most) if large else _parse(body, most)
        for image in images:
            self.write(self.image(), image)
        self.upload.fields = fields


async def convert_images(request: Request, images: list[Entry], settings: Settings, spool: Spool) -> None:
    """Put JPEGs in the places of AVIF, HEIC and JPEG 2000 images, which are decoded in processes of their own.

    Call it once the request's body was read. Raises what `app.media.converting.convert_async` raises, and
    ClientDisconnect.
    """
    kinds = [sniff(entry.head(HEAD_BYTES)) for entry in images]
    if not CONVERTED.isdisjoint(kinds):
        await unless_disconnected(request, _convert(images, kinds, settings, spool))


async def _convert(
    images: list[Entry], kinds: Sequence[str | None], settings: Settings, spool: Spool
) -> None:
    limits = ImageLimits.from_settings(settings)
    for number, (entry, kind) in enumerate(zip(images, kinds, strict=True)):
        if kind is None or kind not in CONVERTED:
            continue
        with naming(number, len(images)):
            data = await convert_async(
                await asyncio.to_thread(entry.read),
                kind,
                max_pixels=limits.max_pixels,
                max_side=limits.max_side,
                limits=limits.decoder,
                wait_s=settings.batching.deadline_s,
            )
        converted = spool.open()
        images[number] = converted
        entry.close()
        converted.write(data)


def _is_written(head: bytes) -> bool:
    """Whether a part is an image as text, or an address."""
    text = head.decode("latin-1")
    return is_data_uri(text) or text.lstrip()[:8].lower().startswith(("http://", "https://"))


async def _read_written(entry: Entry, spool: Spool) -> Entry:
    """The image that a part holds as text, in the place of that part, which is closed."""
    data = await asyncio.to_thread(lambda: decode_text("image", entry.read().decode("latin-1")))
    entry.close()
    decoded = spool.open()
    decoded.write(data)
    return decoded


def _parse(body: bytes, most_images: int) -> tuple[list[bytes], dict[str, list[str]]]:
    """Images and text fields of a JSON body."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise errors.BadRequestError("The body is not valid JSON.") from None
    if not isinstance(parsed, dict):
        raise errors.InvalidInputError("The JSON body must be an object.")
    images: list[bytes] = []
    fields: dict[str, list[str]] = {}
    for name, value in parsed.items():
        if name not in IMAGE_NAMES:
            if (texts := _texts(name, value)) is not None:
                fields[check_text("name", name)] = texts
            continue
        for text in value if isinstance(value, list) else [value]:
            if text is None:
                continue
            if not isinstance(text, str):
                raise errors.InvalidInputError(f"{name}: this is neither base64 nor a data: URI.")
            if len(images) >= most_images:
                raise TooManyPartsError(f"One request takes at most {most_images} images.")
            images.append(decode_text(name, text))
    return images, fields


def _texts(name: str, value: Any) -> list[str] | None:
    """A JSON value as a form would have carried it; None for null."""
    match value:
        case None:
            return None
        case bool():
            return ["true" if value else "false"]
        case str() | int() | float():
            return [check_text(name, str(value))]
        case list() if all(isinstance(item, str | int | float) for item in value):
            return [WholeText(text) for item in value for text in _texts(name, item) or []]
    raise errors.InvalidInputError(f"{shorten_name(name)}: this must be text, a number or a list of these.")
