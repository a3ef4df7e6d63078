"""`/` for browsers, and the files that the page loads: all from this service, under a strict content policy."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from app import errors
from app.access.dependencies import local_only

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
}
_BUILT = files(__package__).joinpath("built")
_HASHED = re.compile(r"-[0-9a-f]{10}\.\w+$")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}


class _ForBrowsers(APIRoute):
    """A route that only requests for HTML match; any other goes on to the next route of the same address."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        accepted = next((value for name, value in scope.get("headers", []) if name == b"accept"), b"")
        return super().matches(scope) if b"text/html" in accepted else (Match.NONE, {})


router = APIRouter(dependencies=[Depends(local_only)], include_in_schema=False)
_browsers = APIRouter(route_class=_ForBrowsers)


@_browsers.api_route("/", methods=["GET", "HEAD"])
def get_page(request: Request) -> Response:
    """The page itself, served without a key; the calls that it makes need one where the service asks for keys."""
    content, tag = _read("index.html")
    headers = {**_PAGE_HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_MEDIA_TYPES["html"], headers=headers)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def get_file(request: Request, name: str) -> Response:
    """One of the page's files; a name that carries its hash is kept by browsers for good."""
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2])
    if media_type is None or not _BUILT.joinpath(name).is_file():
        raise errors.NotFoundError()
    content, tag = _read(name)
    keep = "public, max-age=31536000, immutable" if _HASHED.search(name) else "no-cache"
    headers = {"Cache-Control": keep, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _read(name: str) -> tuple[bytes, str]:
    """A file's bytes and its entity tag."""
    content = _BUILT.joinpath(name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:20]}"'


router.include_router(_browsers)
