"""Where the service of a command answers: the named one, or one that runs already."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx

from app.cli import output
from app.cli.options import load_settings

_MAX_SHOWN_CHARS = 100


def parse_address(server: str) -> str:
    """A --server as a URL; `host:port` will do. Ends the command where it can be none."""
    url = server if "://" in server else f"http://{server}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        usable = usable and not any(character.isspace() for character in url) and bool(httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        output.fail(
            f"{server[:_MAX_SHOWN_CHARS]!r} is no address of a service, such as http://127.0.0.1:8000",
            output.USAGE,
        )
    return url.rstrip("/")


def check_key(key: str | None) -> None:
    """End the command where no header could carry the key."""
    if key is not None and not (key.isascii() and key.isprintable()):
        output.fail("the API key holds characters that no key has: it was not copied whole", output.USAGE)


def find_service(data_dir: Path | None) -> str | None:
    """Address of the data folder's running service; without a named folder also one on the default port."""
    from app.embedded.running import running_server

    settings = load_settings(data_dir=data_dir)
    url = running_server(settings.server.data_dir)
    if url is not None or data_dir is not None:
        return url  # a service on the default port keeps another folder than the one that was named
    default = f"http://127.0.0.1:{settings.server.port or 8000}"
    try:
        reply = httpx.get(f"{default}/healthz", timeout=2.0, trust_env=False)
        ours = reply.is_success and reply.json().get("service") == "llamafarm-vision"
    except (httpx.HTTPError, ValueError, AttributeError):
        return None
    return default if ours else None
