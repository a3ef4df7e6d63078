"""A data folder's note of who serves it is believed only while somebody does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.embedded.running import NOTE, Announcement, running_server
from tests.integration.embedded.test_embedded import eventually


@pytest.fixture(params=[{"service": "llamafarm-vision"}, {"service": "another"}, []])
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """The address of something that answers, and whether it is ours."""
    body = json.dumps(request.param).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", request.param == {"service": "llamafarm-vision"}
        server.shutdown()
        thread.join()


def test_only_our_own_service_is_found(tmp_path: Path, answering: tuple[str, bool]) -> None:
    url, ours = answering
    announcement = Announcement(tmp_path, url)
    assert announcement.announce()
    assert running_server(tmp_path) == (url if ours else None)
    announcement.withdraw()
    assert running_server(tmp_path) is None
    assert not (tmp_path / NOTE).exists()


def test_a_note_of_a_process_that_ended_is_not_believed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    (tmp_path / NOTE).write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": ended.pid}))
    assert running_server(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"url": "http://x", "pid": "x"}', '{"url": 1, "pid": 1e99}']
)
def test_a_broken_note_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    assert running_server(tmp_path) is None
    announcement = Announcement(tmp_path, "http://127.0.0.1:1")
    assert announcement.announce(), "it is nobody's"
    announcement.withdraw()
    assert not (tmp_path / NOTE).exists()


def test_a_killed_service_at_the_same_address_is_not_asked(tmp_path: Path) -> None:
    """In a container it had the same number, too: this one would wait for its own answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (tmp_path / NOTE).write_text(json.dumps({"url": url, "pid": os.getpid()}))
        announcement = Announcement(tmp_path, url)
        assert announcement.announce()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
        announcement.withdraw()


def test_the_first_service_keeps_its_note_and_the_second_takes_its_place(tmp_path: Path) -> None:
    first, second = (Announcement(tmp_path, f"http://127.0.0.1:{port}") for port in (1, 2))
    assert first.announce()
    note = (tmp_path / NOTE).read_bytes()
    assert not second.announce()
    assert (tmp_path / NOTE).read_bytes() == note
    third = Announcement(tmp_path, "http://127.0.0.1:3")
    assert not third.announce()
    third.withdraw()
    assert (tmp_path / NOTE).read_bytes() == note, "nobody withdraws the note of another"
    first.withdraw()

    def has_changed() -> bool:
        try:
            return bool(json.loads((tmp_path / NOTE).read_text())["url"] == "http://127.0.0.1:2")
        except FileNotFoundError:
            return False

    eventually(has_changed)
    second.withdraw()
    assert not (tmp_path / NOTE).exists()


def test_a_living_service_of_an_earlier_version_keeps_its_note(
    tmp_path: Path, answering: tuple[str, bool]
) -> None:
    url, ours = answering
    note = json.dumps({"url": url, "pid": os.getppid()})  # it held no lock
    (tmp_path / NOTE).write_text(note)
    announcement = Announcement(tmp_path, "http://127.0.0.1:1")
    assert announcement.announce() is not ours
    announcement.withdraw()
    if ours:
        assert (tmp_path / NOTE).read_text() == note
