"""Two transports that carry out the steps of a verb: one waits, the other awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

import httpx

from llamafarm_vision.errors import UnreachableError
from llamafarm_vision.steps import (
    Block,
    Call,
    Emit,
    Exchange,
    Flow,
    ItemFlow,
    Open,
    Pause,
    ReadChunk,
    ReadLine,
    Reply,
    Step,
)

R = TypeVar("R")
T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 180.0  # the first request may load a model
CONNECT_TIMEOUT_SECONDS = 5.0
# httpx's own, but for the last: the service closes idle connections after 5 s, and a request sent just then would fail
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0)


class Transport:
    """One reachable service; safe to share between threads."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_SECONDS,
        trust_env: bool = False,
    ) -> None:
        self.url = url
        self._http = httpx.Client(**_options(url, api_key, timeout_s, trust_env))

    def run(self, flow: Flow[R]) -> R:
        """Carry out a flow; its result."""
        with _Session(self._http) as session:
            outcome, error = None, None
            while True:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration as end:
                    result: R = end.value
                    return result
                outcome, error = session.try_step(step)

    def iterate(self, flow: ItemFlow[T]) -> Iterator[T]:
        """Carry out a flow while its items are asked for."""
        try:
            with _Session(self._http) as session:
                outcome, error = None, None
                while True:
                    try:
                        step = flow.send(outcome) if error is None else flow.throw(error)
                    except StopIteration:
                        return
                    outcome, error = None, None
                    if isinstance(step, Emit):
                        yield step.item
                    else:
                        outcome, error = session.try_step(step)
        finally:
            flow.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncTransport:
    """The same within an event loop; safe to share between its tasks."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_SECONDS,
        trust_env: bool = False,
    ) -> None:
        self.url = url
        self._http = httpx.AsyncClient(**_options(url, api_key, timeout_s, trust_env))

    async def run(self, flow: Flow[R]) -> R:
        """Carry out a flow; its result."""
        async with _AsyncSession(self._http) as session:
            outcome, error = None, None
            while True:
                try:
                    step = flow.send(outcome) if error is None else flow.throw(error)
                except StopIteration as end:
                    result: R = end.value
                    return result
                outcome, error = await session.try_step(step)

    async def iterate(self, flow: ItemFlow[T]) -> AsyncIterator[T]:
        """Carry out a flow while its items are asked for."""
        try:
            async with _AsyncSession(self._http) as session:
                outcome, error = None, None
                while True:
                    try:
                        step = flow.send(outcome) if error is None else flow.throw(error)
                    except StopIteration:
                        return
                    outcome, error = None, None
                    if isinstance(step, Emit):
                        yield step.item
                    else:
                        outcome, error = await session.try_step(step)
        finally:
            flow.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Session:
    """The steps of one flow, and the reply that it has open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._open = ExitStack()
        self._lines: Iterator[str] = iter(())
        self._chunks: Iterator[bytes] = iter(())

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *about: object) -> None:
        self._open.close()

    def try_step(self, step: Step) -> tuple[Any, Exception | None]:
        """The step's outcome, or how it failed."""
        try:
            return self._do(step), None
        except httpx.HTTPError as error:
            return None, _unreachable(self._http.base_url, error, step)
        except Exception as error:
            return None, error

    def _do(self, step: Step) -> Any:
        match step:
            case Exchange(call):
                return _read(self._http.request(**_request(call), content=call.body and call.body()))
            case Open(call):
                self._open.close()
                reply = self._open.enter_context(
                    self._http.stream(**_request(call), content=call.body and call.body())
                )
                if not reply.is_success:
                    reply.read()
                    return _read(reply)
                self._lines, self._chunks = reply.iter_lines(), reply.iter_bytes()
                return _read(reply, with_content=False)
            case ReadLine():
                return next(self._lines, None)
            case ReadChunk():
                return next(self._chunks, None)
            case Pause(seconds):
                return time.sleep(seconds)
            case Block(function):
                return function()
        raise TypeError(f"no such step: {step!r}")


class _AsyncSession:
    """The same, awaited; what blocks is done on a thread."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open = AsyncExitStack()
        self._lines: AsyncIterator[str] | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> _AsyncSession:
        return self

    async def __aexit__(self, *about: object) -> None:
        await self._open.aclose()

    async def try_step(self, step: Step) -> tuple[Any, Exception | None]:
        """The step's outcome, or how it failed."""
        try:
            return await self._do(step), None
        except httpx.HTTPError as error:
            return None, _unreachable(self._http.base_url, error, step)
        except Exception as error:
            return None, error

    async def _do(self, step: Step) -> Any:
        match step:
            case Exchange(call):
                return _read(await self._http.request(**_request(call), content=_in_thread(call)))
            case Open(call):
                await self._open.aclose()
                reply = await self._open.enter_async_context(
                    self._http.stream(**_request(call), content=_in_thread(call))
                )
                if not reply.is_success:
                    await reply.aread()
                    return _read(reply)
                self._lines, self._chunks = reply.aiter_lines(), reply.aiter_bytes()
                return _read(reply, with_content=False)
            case ReadLine():
                return None if self._lines is None else await anext(self._lines, None)
            case ReadChunk():
                return None if self._chunks is None else await anext(self._chunks, None)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Block(function):
                return await asyncio.to_thread(function)
        raise TypeError(f"no such step: {step!r}")


def _options(url: str, api_key: str | None, timeout_s: float, trust_env: bool) -> dict[str, Any]:
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_SECONDS),
        "limits": _LIMITS,
        "trust_env": trust_env,
    }


def _request(call: Call) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": call.method,
        "url": call.path,
        "params": call.params or None,
        "json": call.json,
        "data": call.form,
        "files": call.files or None,
        "headers": call.headers,
    }
    # None means no timeout to httpx, so it is only named where the call has its own
    return request if call.timeout is None else request | {"timeout": call.timeout}


def _read(reply: httpx.Response, *, with_content: bool = True) -> Reply:
    content = reply.content if with_content else b""
    return Reply(reply.status_code, reply.reason_phrase, reply.headers, content)


def _in_thread(call: Call) -> AsyncIterator[bytes] | None:
    if call.body is None:
        return None
    pieces = iter(call.body())

    async def read() -> AsyncIterator[bytes]:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    return read()


def _unreachable(url: httpx.URL, error: httpx.HTTPError, step: Step) -> UnreachableError:
    address = str(url).rstrip("/")
    if isinstance(error, httpx.TimeoutException):
        found = UnreachableError(f"{address} did not answer in time")
    elif isinstance(step, ReadLine | ReadChunk):
        found = UnreachableError(f"{address} ended its answer early ({error})")
    else:
        found = UnreachableError(f"no service answers at {address} ({error})")
    found.__cause__ = error
    return found
