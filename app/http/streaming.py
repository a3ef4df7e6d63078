"""Answers that go out piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.event_stream import EVENT_STREAM


class HeldStream(StreamingResponse):
    """A stream that holds a resource while its client is connected, and lets go of it even where not a byte could be
    sent.
    """

    def __init__(
        self,
        content: AsyncIterator[str] | AsyncIterator[bytes],
        held: AbstractAsyncContextManager[object],
        *,
        media_type: str = EVENT_STREAM,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)
