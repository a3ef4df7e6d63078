"""Another server's model that answers word by word as slowly as a test wants, behind the OpenAI API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["a ", "red ", "mug ", "on ", "a ", "table"]
MAX_WAIT_SECONDS = 60


@dataclass
class SlowModel:
    """What is answered, and when: the first two words come at once, the rest when `go_on` is set."""

    url: str = ""
    words: list[str] = field(default_factory=lambda: list(WORDS))
    go_on: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Wait again after two words."""
        self.words = list(WORDS)
        self.go_on.clear()


@contextmanager
def slow_model() -> Iterator[SlowModel]:
    """Serves a model on a port of its own."""
    script = SlowModel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                for number, word in enumerate(script.words):
                    if number == 2:
                        self._wait()
                    self._send({"choices": [{"delta": {"content": word}}]})
                self._send({"choices": [{"delta": {}, "finish_reason": "stop"}]})
                self._send({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 6}})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                pass  # whoever asked has left

        def _wait(self) -> None:
            """Keeps the connection awake, so that the end of whoever asked is noticed."""
            for _ in range(MAX_WAIT_SECONDS * 10):
                if script.go_on.wait(0.1):
                    return
                self.wfile.write(b": waiting\n\n")
                self.wfile.flush()

        def _send(self, chunk: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_port}/v1"
        yield script
        script.go_on.set()
        server.shutdown()
        thread.join()
