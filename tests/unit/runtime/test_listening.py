"""A taken or impossible address is known before anything is started."""

from __future__ import annotations

import socket

import pytest

from app.runtime.listening import ListenError, listening_socket, url_of


def test_port_0_takes_a_free_port_and_names_it() -> None:
    with listening_socket("127.0.0.1", 0) as sock:
        assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize(("host", "named"), [("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1")])
def test_its_name_is_one_that_a_client_on_this_machine_can_use(host: str, named: str) -> None:
    with listening_socket(host, 0) as sock, socket.create_connection((named, sock.getsockname()[1])):
        assert url_of(sock).startswith(f"http://{named}:")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
def test_ipv6_is_written_in_brackets(host: str) -> None:
    with listening_socket(host, 0) as sock, socket.create_connection(("::1", sock.getsockname()[1])):
        assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


def test_a_taken_port_is_refused_at_once() -> None:
    with listening_socket("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port}: Address already in use"):
            listening_socket("127.0.0.1", port).__enter__()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "203.0.113.1"])
def test_an_impossible_host_is_refused(host: str) -> None:
    with pytest.raises(ListenError, match=host):
        listening_socket(host, 0).__enter__()
