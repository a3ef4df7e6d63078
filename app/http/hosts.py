"""Which host a Host or Origin header names, read strictly: what no client sends in good faith names none."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{0,5}))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_MAX_PORT = 65_535
_MAX_CHARS = 300
"""A name has 253 characters at most (RFC 1035), and a port five."""


def read_host(text: str) -> str | None:
    """The host, in lower case, of `host`, `host:port`, `[address]` or `[address]:port`; None for anything else.

    Stricter than RFC 3986, where a browser, a proxy and this service could each read another host out of the same
    text: user names, backslashes, spaces, percent signs and zones of IPv6 addresses name no host here.
    """
    return _read(text) if len(text) <= _MAX_CHARS else None


@lru_cache(1024)
def _read(text: str) -> str | None:
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        return None
    if found["address"] is None:
        return found["name"].lower()
    try:
        return str(ipaddress.IPv6Address(found["address"]))
    except ValueError:
        return None


def read_authority(origin: str) -> str | None:
    """`host:port` of `scheme://host:port`, as it is written but in lower case; None where that names no host."""
    scheme, found, authority = origin.partition("://")
    if not found or not _SCHEME.fullmatch(scheme) or read_host(authority) is None:
        return None
    return authority.lower()


def check_host(values: list[bytes]) -> str | None:
    """What is wrong with the Host headers of a request, as a sentence; None where nothing is.

    An empty header, and none at all, are in order: HTTP allows both.
    """
    if len(values) > 1:
        return "The request has several Host headers."
    # bytes beyond ASCII become characters that no host holds
    if values and values[0].strip() and read_host(values[0].strip().decode("latin-1")) is None:
        return "The Host header names no host: send a name or an address, and a port as a number."
    return None
