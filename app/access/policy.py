"""When the service may listen and whom it answers without a key."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from app.access.errors import ForeignOriginError
from app.http.hosts import read_authority, read_host
from app.settings import Settings

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


class BindRefusedError(Exception):
    """The service would listen beyond this machine, and there is no API key to call it with."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Refusing to listen on {host} without API keys. Make one first with `vision keys create` (which "
            "needs no running server), name a file for a first key in VISION_BOOTSTRAP_KEY_FILE, or pass "
            "--no-auth to serve without keys."
        )


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, an address or name to listen on."""
    name = host.strip("[]").lower()
    if name in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False  # any other name may mean any interface


def needs_key(settings: Settings) -> bool:
    """Whether a request without a key is refused."""
    return not settings.access.no_auth and not is_loopback(settings.server.host)


def check_bind(settings: Settings, has_keys: bool) -> None:
    """Raises `BindRefusedError` where the service would listen beyond this machine with nobody able to get
    in.
    """
    if needs_key(settings) and not has_keys and settings.access.bootstrap_key_file is None:
        raise BindRefusedError(settings.server.host)


def check_local(settings: Settings, host: str | None, origin: str | None) -> None:
    """Raises `ForeignOriginError` where a web page could be speaking through somebody's browser.

    A page of another site names its own Origin, and one that rebinds its DNS name to this machine names that
    in Host. Without keys, nothing else tells such requests from those of the machine's user. With `no_auth`
    the service does not know its public names, so there only the Origin is held against the Host.
    """
    named = None if origin is None else read_authority(origin)
    known_origin = origin is None or _is_known(settings, named)
    if is_loopback(settings.server.host):
        if not known_origin or not _is_known(settings, host):
            raise ForeignOriginError()
    elif not known_origin and (named is None or named != (host or "").lower()):
        raise ForeignOriginError()


def _is_known(settings: Settings, authority: str | None) -> bool:
    """Whether `host` or `host:port` names this machine, or what the settings allow beside it."""
    name = read_host(authority) if authority else None
    if name is None:
        return False
    extra = {host.strip().lower() for host in settings.access.allowed_hosts.split(",") if host.strip()}
    return is_loopback(name) or name in extra
