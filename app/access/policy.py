"""When the service may listen and whom it answers without a key."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from app.access.errors import ForeignOriginError
from app.settings import Settings

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


class BindRefusedError(Exception):
    """The service would listen beyond this machine, with no key that anybody could come in with."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Refusing to listen on {host} without API keys. Make one first with `vision keys create` (which "
            "needs no running server), name a file for a first key in VISION_BOOTSTRAP_KEY_FILE, or pass "
            "--no-auth to let everybody in."
        )


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
    the service goes by names nobody told it, so there only the Origin is held against the Host.
    """
    if is_loopback(settings.server.host):
        if not _is_known(settings, _hostname(f"//{host}") if host else None):
            raise ForeignOriginError()
        if origin is not None and not _is_known(settings, _hostname(origin)):
            raise ForeignOriginError()
    elif origin is not None and not _is_known(settings, _hostname(origin)):
        named = urlsplit(origin).netloc.lower()
        if not host or named != host.lower():
            raise ForeignOriginError()


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_known(settings: Settings, name: str | None) -> bool:
    if not name:
        return False
    extra = {one.strip().lower() for one in settings.access.allowed_hosts.split(",") if one.strip()}
    return is_loopback(name) or name in extra
