"""An answer as server-sent events while it is being generated.

Knows the event stream's format and that a client may leave; knows nothing of models.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from app.answers.service import Answered
from app.http import problems
from app.http.disconnect import unless_disconnected
from app.http.event_stream import EVENT_STREAM

log = structlog.get_logger("app.answers")

Ask = Callable[[Callable[[str], None]], Coroutine[Any, Any, Answered]]


async def streamed(request: Request, ask: Ask, written: Callable[[Answered], BaseModel]) -> StreamingResponse:
    """`token` events with {"text"} as `ask` hands pieces over, then `done` with the whole reply, or `error`.

    Returns with the first piece: what fails before it is raised, and so keeps its own status. What goes wrong
    later comes as a problem document in an `error` event. When the client leaves, the work is cancelled; raises
    ClientDisconnect where that is before the first piece.
    """
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    work = asyncio.ensure_future(ask(pieces.put_nowait))
    work.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        first = await unless_disconnected(request, pieces.get())
        if first is None:
            work.result()
    except BaseException:
        await _stopped(work)
        raise
    request_id = request.scope.get("vision.request_id")

    async def events() -> AsyncIterator[str]:
        piece = first
        while piece is not None:
            yield _event("token", json.dumps({"text": piece}, ensure_ascii=False))
            piece = await pieces.get()
        try:
            answered = work.result()
        except Exception as error:
            named = problems.name_error(error)
            if named is None:
                log.exception("an answer failed", request_id=request_id)
                named = problems.unforeseen(str(request_id))
            yield _event("error", json.dumps(problems.document(named, request_id)))
        else:
            yield _event("done", written(answered).model_dump_json())

    return _Stream(events(), work)


class _Stream(StreamingResponse):
    """Events for as long as somebody listens; `work` ends with them, even where not one could be sent."""

    def __init__(self, events: AsyncIterator[str], work: asyncio.Future[Answered]) -> None:
        super().__init__(events, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _stopped(self._work)


async def _stopped(work: asyncio.Future[Answered]) -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
