"""A streamed answer is events in order, and stops its work when nobody listens any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from fastapi import Request
from pydantic import BaseModel

from app.answering.service import Answered
from app.answering.streaming import streamed
from app.errors import OverloadedError
from app.inference.vlms.prompts import Answer


class Reply(BaseModel):
    """What `done` carries here."""

    text: str


def written(answered: Answered) -> Reply:
    return Reply(text=answered.answer.text)


def request() -> Request:
    return Request({"type": "http", "vision.request_id": "r1", "headers": []})


async def test_pieces_come_in_order_and_the_whole_reply_last() -> None:
    async def ask(on_text: Callable[[str], None]) -> Answered:
        on_text("a\n")
        await asyncio.sleep(0)
        on_text("é")
        return Answered(Answer("a\né", 3, 2, "stop"), "m", (), 1.0)

    found = [str(chunk) async for chunk in streamed(request(), ask, written).body_iterator]
    assert found[:2] == ['event: token\ndata: {"text": "a\\n"}\n\n', 'event: token\ndata: {"text": "é"}\n\n']
    assert found[2].startswith("event: done\n")
    assert json.loads(found[2].splitlines()[1].removeprefix("data: ")) == {"text": "a\né"}


@pytest.mark.parametrize(
    ("error", "code"), [(OverloadedError(), "overloaded"), (RuntimeError("inside"), "internal_error")]
)
async def test_a_failure_is_an_event_without_the_inside(error: Exception, code: str) -> None:
    async def ask(on_text: Callable[[str], None]) -> Answered:
        on_text("a")
        raise error

    *_, last = [str(chunk) async for chunk in streamed(request(), ask, written).body_iterator]
    assert last.startswith("event: error\n")
    problem = json.loads(last.splitlines()[1].removeprefix("data: "))
    assert problem["error"]["code"] == code
    assert "inside" not in last


async def test_leaving_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def ask(on_text: Callable[[str], None]) -> Answered:
        on_text("a")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("nobody sets this event")

    events = streamed(request(), ask, written).body_iterator
    assert "token" in str(await anext(events))
    await events.aclose()  # type: ignore[attr-defined]
    assert cancelled.is_set()
