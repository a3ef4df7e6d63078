"""What a route that takes images declares once: how many images, which fields; its OpenAPI is made from both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from fastapi import Request

from app.errors import InvalidInputError
from app.http.archive_upload import receive_archive
from app.http.dependencies import AppSettings, close_with_request, service_of
from app.http.fields import AnyForm, describe_fields, list_required_fields, parse_fields
from app.http.forms import convert_images, read_upload
from app.http.spool import Entry, Spool
from app.settings import Settings

Images = Literal["one", "several", "optional", "any"]
"""Exactly one, at least one, one at most, or any number."""


@dataclass(frozen=True)
class ReceivedForm(Generic[AnyForm]):
    """What came in; the images are gone when the request ends."""

    fields: AnyForm
    images: list[Entry]
    """Each has `size` and `read()`, which may block for large images."""


class UploadForm(Generic[AnyForm]):
    """A dependency of routes that gives them a `ReceivedForm`; list it after the one that lets the caller in.

    Raises what `app.http.forms.read_upload` and `app.http.fields.parse_fields` raise, and InvalidInputError for too
    few or too many images.
    """

    def __init__(
        self, fields: type[AnyForm], images: Images, *, name: str = "image", or_text: str | None = None
    ) -> None:
        """`name` is what the documentation page calls the image part; `or_text` names the field of words that may come
        instead of it, and where a data: URI is an image too.
        """
        self.fields, self.images, self.name, self.or_text = fields, images, name, or_text

    async def __call__(self, request: Request) -> ReceivedForm[AnyForm]:
        """Read the upload and check it; its images are closed however the request ends."""
        settings, spool = service_of(request, "settings", Settings), service_of(request, "spool", Spool)
        upload = await read_upload(request, settings, spool)
        close_with_request(request, upload.close)
        if self.or_text is not None:
            upload.take_images(self.or_text, spool)
            await convert_images(request, upload.images, settings, spool)
        fields = parse_fields(self.fields, upload.fields, settings)
        count = len(upload.images)
        if self.images == "several" and not count:
            raise InvalidInputError(f"{self.name}: send at least one.")
        if (self.images == "one" and count != 1) or (self.images == "optional" and count > 1):
            raise InvalidInputError(
                f"{self.name}: send {'exactly' if self.images == 'one' else 'at most'} one."
            )
        return ReceivedForm(fields, upload.images)

    def openapi(self) -> dict[str, Any]:
        """`openapi_extra` of the route: the same upload as a form, as JSON, and as a raw image."""
        several = self.images in ("several", "any")
        required = [
            *([] if self.images in ("optional", "any") else [self.name]),
            *list_required_fields(self.fields),
        ]
        fields = describe_fields(self.fields)
        file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
        text = {"type": "string", "description": "Base64, or a data: URI.", "contentEncoding": "base64"}
        form = {**fields, self.name: {"type": "array", "items": file} if several else file}
        written = {
            **fields,
            self.name: {"anyOf": [text, {"type": "array", "items": text}]} if several else text,
        }
        repeated = [name for name, schema in form.items() if schema.get("type") == "array"]
        content: dict[str, Any] = {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": form, "required": required},
                # a list goes as the same part again and again
                "encoding": {name: {"explode": True} for name in repeated},
            },
            "application/json": {"schema": {"type": "object", "properties": written, "required": required}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        }
        return {"requestBody": {"required": bool(required), "content": content}}


@dataclass(frozen=True)
class ReceivedArchive(Generic[AnyForm]):
    """What came in; the file is gone when the request ends."""

    fields: AnyForm
    path: Path


class ArchiveForm(Generic[AnyForm]):
    """A dependency of routes that gives them a `ReceivedArchive`; list it after the one that lets the caller in.

    Raises what `app.http.archive_upload.received_archive` and `app.http.fields.parse_fields` raise.
    """

    def __init__(self, fields: type[AnyForm], about: str) -> None:
        """`about` describes the archive on the documentation page."""
        self.fields, self.about = fields, about

    async def __call__(
        self, request: Request, settings: AppSettings
    ) -> AsyncIterator[ReceivedArchive[AnyForm]]:
        """Receive the archive on disk and check the fields beside it."""
        if not request.headers.get("content-type", "").startswith("multipart/"):
            # all fields are in the query: what is wrong with them is said before gigabytes are received
            query = {name: request.query_params.getlist(name) for name in request.query_params}
            parse_fields(self.fields, query, settings, file="archive")
        async with receive_archive(request, settings) as upload:
            texts = {name: [text] for name, text in upload.fields.items()}
            yield ReceivedArchive(parse_fields(self.fields, texts, settings, file="archive"), upload.path)

    def openapi(self) -> dict[str, Any]:
        """`openapi_extra` of the route: the archive in a form, or as the body with the fields in the query."""
        file = {"type": "string", "format": "binary", "description": self.about}
        fields = describe_fields(self.fields)
        form = {"type": "object", "properties": {"archive": file, **fields}, "required": ["archive"]}
        raw = (
            *("application/zip", "application/x-tar", "application/gzip"),
            *("application/x-bzip2", "application/x-xz"),
        )
        content = {"multipart/form-data": {"schema": form}, **{kind: {"schema": file} for kind in raw}}
        found: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
        if fields:
            found["parameters"] = [
                {
                    "name": name,
                    "in": "query",
                    "description": f"Beside an archive as the whole body. {schema['description']}",
                    "schema": {key: value for key, value in schema.items() if key != "description"},
                }
                for name, schema in fields.items()
            ]
        return found
