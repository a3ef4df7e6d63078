"""A streamed answer is events in order, and stops its work when nobody listens any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from fastapi import Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.answers.service import AskResult
from app.answers.streaming import Events, stream_answer
from app.errors import OverloadedError
from app.inference.prompts import Answer

SCOPE = {"type": "http", "vision.request_id": "r1", "headers": []}
WHOLE = AskResult(Answer("a\né", 3, 2, "stop"), "m", (), 0.1, 0.2, 0.7, 1.0)


class Reply(BaseModel):
    """What `done` carries here."""

    text: str


class Client:
    """Who asks: listens until `gone` is set."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.messages: list[Message] = []
        self.request = Request(SCOPE, self.receive)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.reads.set()

    def events(self) -> list[str]:
        body = b"".join(message.get("body", b"") for message in self.messages).decode()
        return body.strip().split("\n\n")


class Endless:
    """An answer that begins with `pieces` and never ends by itself."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.cancelled = asyncio.Event()

    async def ask(self, on_text: Callable[[str], None]) -> AskResult:
        for piece in self.pieces:
            on_text(piece)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("nobody sets this event")


def written(answered: AskResult) -> Reply:
    return Reply(text=answered.answer.text)


async def test_pieces_come_in_order_and_the_whole_reply_last() -> None:
    async def ask(on_text: Callable[[str], None]) -> AskResult:
        on_text("a\n")
        await asyncio.sleep(0)
        on_text("é")
        return WHOLE

    client = Client()
    await (await stream_answer(client.request, ask, Events(written)))(SCOPE, client.receive, client.send)
    *tokens, done = client.events()
    assert tokens == ['event: token\ndata: {"text": "a\\n"}', 'event: token\ndata: {"text": "é"}']
    assert done.startswith("event: done\n")
    assert json.loads(done.splitlines()[1].removeprefix("data: ")) == {"text": "a\né"}


async def test_an_answer_without_a_word_is_done_at_once() -> None:
    async def ask(on_text: Callable[[str], None]) -> AskResult:
        return WHOLE

    client = Client()
    await (await stream_answer(client.request, ask, Events(written)))(SCOPE, client.receive, client.send)
    assert [event.splitlines()[0] for event in client.events()] == ["event: done"]


@pytest.mark.parametrize(
    ("error", "code"), [(OverloadedError(), "overloaded"), (RuntimeError("inside"), "internal_error")]
)
async def test_a_failure_after_the_start_is_an_event_without_the_inside(error: Exception, code: str) -> None:
    async def ask(on_text: Callable[[str], None]) -> AskResult:
        on_text("a")
        raise error

    client = Client()
    await (await stream_answer(client.request, ask, Events(written)))(SCOPE, client.receive, client.send)
    *_, last = client.events()
    assert last.startswith("event: error\n")
    problem = json.loads(last.splitlines()[1].removeprefix("data: "))
    assert problem["error"]["code"] == code
    assert "inside" not in last


async def test_a_failure_before_the_start_is_raised() -> None:
    async def ask(on_text: Callable[[str], None]) -> AskResult:
        raise OverloadedError

    with pytest.raises(OverloadedError):
        await stream_answer(Client().request, ask, Events(written))


async def test_leaving_before_the_first_piece_cancels_the_work() -> None:
    client, endless = Client(), Endless()
    client.gone.set()
    with pytest.raises(ClientDisconnect):
        await stream_answer(client.request, endless.ask, Events(written))
    assert endless.cancelled.is_set()


async def test_leaving_amid_the_answer_cancels_the_work() -> None:
    client, endless = Client(), Endless("a")
    response = await stream_answer(client.request, endless.ask, Events(written))
    sending = asyncio.create_task(response(SCOPE, client.receive, client.send))
    await asyncio.wait_for(client.reads.wait(), 10)
    client.gone.set()
    await asyncio.wait_for(sending, 10)
    assert endless.cancelled.is_set()


async def test_a_stream_that_cannot_be_sent_cancels_the_work() -> None:
    async def refuse(message: Message) -> None:
        raise OSError("the connection is gone")

    client, endless = Client(), Endless("a")
    response = await stream_answer(client.request, endless.ask, Events(written))
    with pytest.raises((OSError, ExceptionGroup)):
        await response(SCOPE, client.receive, refuse)
    assert endless.cancelled.is_set()
