"""An answer as server-sent events while it is being generated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.answers.service import AskResult
from app.http import problems
from app.http.disconnect import unless_disconnected
from app.http.streaming import HeldStream

log = structlog.get_logger("app.answers")

Ask = Callable[[Callable[[str], None]], Coroutine[Any, Any, AskResult]]


class Frames(Protocol):
    """How the pieces of an answer are written."""

    def render_piece(self, text: str) -> str:
        """A new piece of the answer."""

    def render_end(self, answered: AskResult) -> str:
        """The end of the answer."""

    def render_failure(self, problem: dict[str, Any]) -> str:
        """The problem document of what went wrong in the middle."""


@dataclass(frozen=True)
class Events:
    """`token` events with {"text"}, then `done` with the whole reply, or `error` with a problem document."""

    written: Callable[[AskResult], BaseModel]

    def render_piece(self, text: str) -> str:
        """See `Frames`."""
        return _event("token", json.dumps({"text": text}, ensure_ascii=False))

    def render_end(self, answered: AskResult) -> str:
        """See `Frames`."""
        return _event("done", self.written(answered).model_dump_json())

    def render_failure(self, problem: dict[str, Any]) -> str:
        """See `Frames`."""
        return _event("error", json.dumps(problem))


async def stream_answer(request: Request, ask: Ask, frames: Frames) -> StreamingResponse:
    """The pieces of an answer as `ask` hands them over, then its end.

    Returns with the first piece: what fails before it is raised, and so keeps its own status. When the client leaves,
    the work is cancelled; raises ClientDisconnect where that is before the first piece.
    """
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    work = asyncio.ensure_future(ask(pieces.put_nowait))
    work.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        first = await unless_disconnected(request, pieces.get())
        if first is None:
            work.result()
    except BaseException:
        await _stop(work)
        raise
    request_id = request.scope.get("vision.request_id")

    async def events() -> AsyncIterator[str]:
        piece = first
        while piece is not None:
            yield frames.render_piece(piece)
            piece = await pieces.get()
        try:
            answered = work.result()
        except Exception as error:
            named = problems.name_error(error)
            if named is None:
                log.exception("an answer failed", request_id=request_id)
                named = problems.unforeseen(str(request_id))
            yield frames.render_failure(problems.document(named, request_id))
        else:
            yield frames.render_end(answered)

    held = AsyncExitStack()
    held.push_async_callback(_stop, work)  # it ends with the events, even where not one could be sent
    return HeldStream(events(), held, headers={"Cache-Control": "no-store"})


async def _stop(work: asyncio.Future[AskResult]) -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
