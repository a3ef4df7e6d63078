"""The address a service listens on: taken early, named the way a client would."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EARLY_CLIENTS = 128
"""How many may wait on the socket before the service is ready."""
MAX_WAITING_CLIENTS = 2048
"""How many may wait on it to be accepted afterwards."""
ACCEPTS_AT_ONCE = 1
"""asyncio tries so many accepts a turn and, out of open files, does not stop at the first that fails: with its usual
number it writes thousands of log lines a second and answers nobody any more."""


class ListenError(Exception):
    """The service cannot listen on this address."""


@contextmanager
def listening_socket(host: str, port: int, *, joined: bool = False) -> Iterator[socket.socket]:
    """A socket that holds the address, where early clients wait until all is ready; raises ListenError.

    Others of this user can `join` it where `joined` says so.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"The host {host} is not known: {error}.") from error
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        sock = _listen(family, kind, protocol, address)
        if joined:
            # one that can be joined would join another service's too: that nobody has the address is seen first
            address = sock.getsockname()
            sock.close()
            sock = _listen(family, kind, protocol, address, joined=True)
    except OSError as error:
        raise ListenError(
            f"Cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}. "
            "Choose another with --port, or 0 for any free one."
        ) from error
    with sock:
        yield sock


def join(sock: socket.socket) -> socket.socket:
    """A further socket at the address of one that was opened to be joined, which listens when its owner does: the
    kernel deals new connections out to all that listen, where one that several processes accept from leaves most to
    the one that is first; raises OSError.
    """
    return _bind(sock.family, sock.type, sock.proto, sock.getsockname(), joined=True)


def _listen(family: int, kind: int, protocol: int, address: Any, *, joined: bool = False) -> socket.socket:
    sock = _bind(family, kind, protocol, address, joined=joined)
    try:
        # a second service could bind the same address until one of the two listens
        sock.listen(EARLY_CLIENTS)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(family: int, kind: int, protocol: int, address: Any, *, joined: bool) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if joined:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """How a client on this machine reaches the socket."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
