"""Chats whose model is on another server: text alone goes through, addresses and keys do not, closed streams end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest

from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings
from tests import wire
from tests.compat.conftest import Pictures

KEY = "hf_AKeyOfAnotherServiceThatNobodyElseMaySee"


@dataclass
class Other:
    """What the other server was asked, and how it answers."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    pieces: int = 3
    pause_s: float = 0.0
    breaks: bool = False
    """Whether it hangs up in the middle of an answer."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set when it finds its client gone in the middle of an answer."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """While it is not set, no answer goes on."""


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    script = Other()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            script.headers.append(dict(self.headers))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                for _ in range(script.pieces):
                    self._send({"choices": [{"delta": {"content": "word "}}]})
                    time.sleep(script.pause_s)
                    script.go_on.wait(60)
                if script.breaks:
                    return
                self._send({"choices": [{"delta": {}, "finish_reason": "stop"}]})
                usage = {"prompt_tokens": 7, "completion_tokens": script.pieces}
                self._send({"choices": [], "usage": usage})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                script.left.set()

        def _send(self, chunk: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def url(other: Other, module_addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with one place for questions and one to wait in, whose model is the other server's."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("remote"),
        log_level="error",
        encoder="there-is-no-such-model",
        allow_downloads=False,
        vlm="remote",
        remote_url=other.url,
        vlm_in_flight=1,
        vlm_max_queue=1,
    )
    with wire.serve(create_app(settings, module_addresses)) as served:
        yield f"http://127.0.0.1:{served.port}/v1"


@pytest.fixture
def client(url: str, other: Other) -> Iterator[openai.OpenAI]:
    other.asked.clear()
    other.headers.clear()
    other.pieces, other.pause_s, other.breaks = 3, 0.0, False
    other.go_on.set()
    with openai.OpenAI(base_url=url, api_key=KEY) as made:
        yield made


TITLE: Any = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Make a title."},
]


def test_text_alone_reaches_a_model_that_takes_it(client: openai.OpenAI, other: Other) -> None:
    made = client.chat.completions.create(model="", messages=TITLE, stop=["END"], max_tokens=9)
    assert made.choices[0].message.content == "word word word"
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (7, 3)
    [body] = other.asked
    assert body["messages"][-1] == {"role": "user", "content": "Be short.\n\nMake a title."}
    assert (body["stop"], body["max_tokens"]) == (["END"], 9)


def test_neither_keys_nor_addresses_are_passed_on(
    client: openai.OpenAI, other: Other, pictures: Pictures
) -> None:
    part = {"type": "image_url", "image_url": {"url": pictures.uri("shape.png")}}
    client.chat.completions.create(model="remote", messages=[{"role": "user", "content": [part]}])
    assert KEY not in json.dumps([other.asked, other.headers])
    part["image_url"] = {"url": "https://example.org/a.jpg"}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="remote", messages=[{"role": "user", "content": [part]}])
    assert len(other.asked) == 1


def open_chat(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="", messages=TITLE, stream=True)


def open_response(client: openai.OpenAI) -> Any:
    return client.responses.create(model="", input="Make a title.", stream=True)


@pytest.mark.parametrize("open_stream", [open_chat, open_response])
def test_a_closed_stream_frees_its_place(
    client: openai.OpenAI, other: Other, open_stream: Callable[[openai.OpenAI], Any]
) -> None:
    other.pieces, other.pause_s = 2_000, 0.05
    other.left.clear()
    stream = open_stream(client)
    next(iter(stream))
    # the only place is taken: another question waits, until it gives up
    impatient = client.with_options(timeout=0.5, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model="", messages=TITLE)
    assert len(other.asked) == 1
    stream.close()
    assert other.left.wait(60)
    other.pieces, other.pause_s = 1, 0.0
    # the impatient one may stand in line for a moment yet
    patient = client.with_options(timeout=20, max_retries=2)
    assert patient.chat.completions.create(model="", messages=TITLE).choices[0].message.content == "word"


def test_who_leaves_a_whole_answer_frees_its_place_too(client: openai.OpenAI, other: Other) -> None:
    other.pieces, other.pause_s = 2_000, 0.05
    other.left.clear()
    for timeout in (0.5, 4, 30):  # until it was passed on in that time
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=timeout, max_retries=0).chat.completions.create(
                model="", messages=TITLE
            )
        if other.asked:
            break
    assert other.left.wait(60)


def test_a_stream_that_breaks_off_is_an_error_of_the_client(client: openai.OpenAI, other: Other) -> None:
    other.breaks = True
    stream = client.chat.completions.create(model="", messages=TITLE, stream=True)
    first, second = next(stream), next(stream)
    assert first.choices[0].delta.role == "assistant"
    assert "word" in (second.choices[0].delta.content or "")
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code
    assert caught.value.message


def test_of_many_images_the_latest_are_decoded_and_shown(
    client: openai.OpenAI, other: Other, pictures: Pictures
) -> None:
    def show(*uris: str) -> Any:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]}

    broken = "data:image/png;base64,AAAA"
    earlier = [show(broken, broken), {"role": "assistant", "content": "ok"}]
    latest = show(*[pictures.uri("shape.png")] * 40)
    client.chat.completions.create(model="", messages=[*earlier, latest])
    [body] = other.asked
    parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
    assert sum(part["type"] == "image_url" for part in parts) == 8
    asked = [show("https://example.org/a.jpg"), *earlier, latest]
    with pytest.raises(openai.BadRequestError):  # an address is refused wherever it stands
        client.chat.completions.create(model="", messages=asked)
    with pytest.raises(
        openai.UnprocessableEntityError, match="send a whole JPEG"
    ):  # so is a broken one that would be shown
        client.chat.completions.create(model="", messages=[show(broken, pictures.uri("shape.png"))])


def test_a_full_queue_is_tried_again_by_the_client_itself(url: str, other: Other) -> None:
    other.pieces, other.pause_s = 1, 0.1
    other.go_on.clear()
    answers: list[httpx.Response] = []

    def note(answer: httpx.Response) -> None:
        answers.append(answer)
        if answer.status_code == 503:
            other.go_on.set()

    hooks: Any = {"response": [note]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as http, ThreadPoolExecutor(5) as pool:
        client = openai.OpenAI(base_url=url, api_key="EMPTY", max_retries=30, http_client=http)
        made = list(pool.map(lambda _: client.chat.completions.create(model="", messages=TITLE), range(5)))
    assert {answer.choices[0].message.content for answer in made} == {"word"}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(1 <= int(answer.headers["retry-after"]) <= 120 for answer in refused)
    assert "x-should-retry" not in refused[0].headers
