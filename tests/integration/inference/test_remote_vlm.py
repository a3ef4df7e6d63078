"""A model behind an OpenAI-compatible server, and every way such a server fails."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from app.families.remote.vlm import RemoteVlm
from app.inference.errors import DeadlineExceededError, RemoteModelBusyError, RemoteModelError
from app.inference.prompts import AnswerExample, Prompt

PICTURE = Image.new("RGB", (3000, 20), "red")


@dataclass
class Script:
    """What the server does with each request in turn, the last for all that follow; and what it was asked."""

    replies: list[Any]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def to_stream(*pieces: str) -> list[str]:
    chunks = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(pieces)}}
    return [*(f"data: {json.dumps(event)}" for event in [*chunks, end, usage]), "data: [DONE]"]


@pytest.fixture
def script() -> Script:
    return Script([to_stream("a", " red", " bar")])


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            script.asked.append(json.loads(body))
            script.headers.append(dict(self.headers))
            reply = script.replies[min(len(script.asked), len(script.replies)) - 1]
            if isinstance(reply, tuple):
                status, headers = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            if reply == "hang":
                time.sleep(3)
                return
            self.wfile.write("\n\n".join(reply).encode() + b"\n\n")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


def prompt(**more: Any) -> Prompt:
    return Prompt(PICTURE, "what is this?", "vqa", 16, **more)


async def ask(url: str, deadline_s: float = 20, **options: Any) -> tuple[str, list[str]]:
    pieces: list[str] = []
    remote = RemoteVlm("remote", url, "llava", "secret", **options)
    try:
        answer, _ = await remote.answer(prompt(), deadline_s=deadline_s, on_text=pieces.append)
    finally:
        await remote.close()
    return answer.text, pieces


async def test_an_answer_comes_piece_by_piece(url: str, script: Script) -> None:
    assert await ask(url) == ("a red bar", ["a", " red", " bar"])
    assert script.headers[0]["Authorization"] == "Bearer secret"
    asked = script.asked[0]
    assert asked["model"] == "llava"
    assert asked["temperature"] == 0
    kinds = [part["type"] for part in asked["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]
    assert asked["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


async def test_examples_are_earlier_turns_the_nearest_last(url: str, script: Script) -> None:
    remote = RemoteVlm("remote", url, "llava")
    near, far = AnswerExample(PICTURE, "q1", "a1"), AnswerExample(None, "q2", "a2")
    answer, used = await remote.answer(prompt(examples=(near, far)), deadline_s=20)
    await remote.close()
    assert used == (0, 1)
    assert answer.prompt_tokens == 7
    turns = script.asked[0]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert [turns[1]["content"], turns[3]["content"]] == ["a2", "a1"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_server_is_asked_again(url: str, script: Script, status: int) -> None:
    script.replies.insert(0, (status, {"Retry-After": "0"}))
    assert (await ask(url))[0] == "a red bar"
    assert len(script.asked) == 2


async def test_a_server_that_stays_busy_is_named(url: str, script: Script) -> None:
    script.replies = [(429, {"Retry-After": "1"})]
    with pytest.raises(RemoteModelBusyError) as caught:
        await ask(url, attempts=2)
    assert caught.value.retry_after_s == 1
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413])
async def test_a_refusal_is_not_repeated_and_not_followed(url: str, script: Script, status: int) -> None:
    script.replies = [(status, {"Location": url})]
    with pytest.raises(RemoteModelError):
        await ask(url)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["data: {not json"],
        ["data: []"],
        ['data: {"error": {"message": "boom"}}'],
        ['data: {"choices": [{"delta": {"content": "a"}}]}'],  # ends without [DONE]
        ["data: null"],
        ['data: {"choices": 5}', "data: [DONE]"],
        ['data: {"choices": [{"delta": {"content": 5}}]}', "data: [DONE]"],
        ['data: {"choices": [], "usage": {"prompt_tokens": "many"}}', "data: [DONE]"],
    ],
)
async def test_garbage_is_an_error_not_an_answer(url: str, script: Script, lines: list[str]) -> None:
    script.replies = [lines]
    with pytest.raises(RemoteModelError):
        await ask(url)


async def test_what_was_passed_on_is_not_repeated(url: str, script: Script) -> None:
    script.replies = [to_stream("half")[:1], to_stream("whole")]
    with pytest.raises(RemoteModelError):
        await ask(url)
    assert len(script.asked) == 1


async def test_a_server_that_hangs_meets_the_deadline(url: str, script: Script) -> None:
    script.replies = ["hang"]
    async with asyncio.timeout(60):
        with pytest.raises((DeadlineExceededError, RemoteModelError)):
            await ask(url, deadline_s=0.5, attempts=1)


async def test_no_server_at_all_is_named() -> None:
    with pytest.raises(RemoteModelError):
        await ask("http://127.0.0.1:9/v1", attempts=2)
