"""The OpenAPI document: what FastAPI finds in the routes, with our problem documents and uploads filled in.

Knows the document's shape; knows nothing of what the routes do.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.http import problems


def build(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.SCHEMA
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


def upload_body(
    fields: dict[str, dict[str, Any]], *, several: bool = True, required: tuple[str, ...] = ("image",)
) -> dict[str, Any]:
    """`openapi_extra` of a route that takes `app.http.forms.Upload`: the same upload in its three dresses.

    `fields` are the text fields, each as a JSON schema; with `several`, more than one image may come.
    """
    name = "images" if "images" in required else "image"
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    text = {"type": "string", "description": "Base64, or a data: URI.", "contentEncoding": "base64"}
    form = {**fields, name: {"type": "array", "items": file} if several else file}
    written = {**fields, name: {"anyOf": [text, {"type": "array", "items": text}]} if several else text}
    content: dict[str, Any] = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": form, "required": list(required)},
            # a list goes as the same part again and again
            "encoding": {key: {"explode": True} for key, one in form.items() if one.get("type") == "array"},
        },
        "application/json": {"schema": {"type": "object", "properties": written, "required": list(required)}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    }
    return {"requestBody": {"required": bool(required), "content": content}}
