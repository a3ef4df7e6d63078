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

from app import problems
from app.answering.service import Answered

EVENT_STREAM = "text/event-stream"

log = structlog.get_logger("app.answering")

Ask = Callable[[Callable[[str], None]], Coroutine[Any, Any, Answered]]


def streamed(request: Request, ask: Ask, written: Callable[[Answered], BaseModel]) -> StreamingResponse:
    """`token` events with {"text"} as `ask` hands pieces over, then `done` with the whole reply, or `error`.

    What goes wrong after the first byte cannot change the status any more: it comes as a problem document in an
    `error` event. When the client leaves, the work is cancelled.
    """
    request_id = request.scope.get("vision.request_id")

    async def events() -> AsyncIterator[str]:
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        work = asyncio.ensure_future(ask(pieces.put_nowait))
        work.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield _event("token", json.dumps({"text": piece}, ensure_ascii=False))
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
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    return StreamingResponse(events(), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
