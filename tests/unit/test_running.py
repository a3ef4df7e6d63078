"""A data folder's note of who serves it is believed only while somebody does."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.embedded.running import NOTE, announce, running_server, withdraw


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
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", request.param == {"service": "llamafarm-vision"}
        server.shutdown()
        thread.join()


def test_only_our_own_service_is_found(tmp_path: Path, answering: tuple[str, bool]) -> None:
    url, ours = answering
    announce(tmp_path, url)
    assert running_server(tmp_path) == (url if ours else None)
    withdraw(tmp_path)
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
    withdraw(tmp_path)


def test_nobody_withdraws_the_note_of_another(tmp_path: Path) -> None:
    note = {"url": "http://127.0.0.1:1", "pid": os.getppid()}
    (tmp_path / NOTE).write_text(json.dumps(note))
    withdraw(tmp_path)
    assert json.loads((tmp_path / NOTE).read_text()) == note
