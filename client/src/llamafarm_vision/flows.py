"""The flows that verbs share: send and repeat while the service is busy, pages, event streams, downloads."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from llamafarm_vision.errors import BusyError, DamagedFileError, RefusedError, UnreachableError
from llamafarm_vision.images import read_image
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
)

MAX_TRIES = 4
MAX_PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 180.0
RECONNECT_PAUSE_SECONDS = 1.0
FOLLOW_TIMEOUT_SECONDS = 60.0  # a followed job is heard of several times a minute
MIN_TIMEOUT_SECONDS = 0.1
FOLLOW_TIMEOUT = httpx.Timeout(FOLLOW_TIMEOUT_SECONDS, connect=5.0)
ENDED = ("succeeded", "failed", "cancelled")

Model = TypeVar("Model", bound=BaseModel)
Row = TypeVar("Row")
Progress = Callable[[int, int | None], None]
"""Called with how many bytes have passed, and of how many; None where that is not known."""


def send(call: Call) -> Flow[Any]:
    """The reply's JSON, None where it has no body.

    Raises `RefusedError` on an error reply, `UnreachableError` without one, OSError for an image that cannot be read.
    """
    reply = yield from exchange(call)
    try:
        return reply.read_json()
    except ValueError as error:
        raise UnreachableError("what answers there is no such service: its answer is no JSON") from error


def fetch(call: Call, kind: type[Model]) -> Flow[Model]:
    """The reply as a model; raises as `send`."""
    return kind.model_validate((yield from send(call)))


def exchange(call: Call, step: type[Exchange] | type[Open] = Exchange) -> Flow[Reply]:
    """The reply; sent again, if it may be, for as long as the service is too busy and says when to come back."""
    if call.images:
        files = yield Block(lambda: tuple((name, read_image(image)) for name, image in call.images))
        call = replace(call, files=files, images=())
    attempt = 1
    while True:
        reply: Reply = yield step(call)
        try:
            return reply.check()
        except BusyError as error:
            if not call.is_repeatable or error.retry_after_s is None or attempt >= MAX_TRIES:
                raise
            pause = min(error.retry_after_s * attempt, MAX_PAUSE_SECONDS)
        yield Pause(pause)
        attempt += 1


def list_rows(path: str, convert: Callable[[Any], Row], **query: Any) -> ItemFlow[Row]:
    """Every row of a paged list, page after page."""
    params = {name: value for name, value in query.items() if value is not None}
    while True:
        page = yield from send(Call("GET", path, params=params, is_repeatable=True))
        for row in page["data"]:
            yield Emit(convert(row))
        if not page.get("next"):
            return
        params["cursor"] = page["next"]


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    id: str
    name: str
    data: Any


class EventReader:
    """The server-sent events of the reply that is open."""

    def __init__(self, on_line: Callable[[], None] = lambda: None) -> None:
        """`on_line` is called for each line, also for those that only say that the connection lives."""
        self._on_line = on_line
        self._id, self._name = "", "message"

    def read(self) -> Flow[ServerEvent | None]:
        """The next event; None at the end. Raises `UnreachableError` where the connection breaks."""
        while (line := (yield ReadLine())) is not None:
            self._on_line()
            field, _, value = line.partition(": ")
            if field == "id":
                self._id = value
            elif field == "event":
                self._name = value
            elif field == "data":
                try:
                    return ServerEvent(self._id, self._name, json.loads(value))
                except ValueError as error:
                    raise UnreachableError(f"the service ended its answer early ({error})") from error
        return None


class JobReader:
    """A job's events from the one after the id `after` to the job's end, across broken connections."""

    def __init__(
        self,
        path: str,
        after: str | None = None,
        *,
        on_broken: Callable[[], None] = lambda: None,
        timeout_s: float | None = None,
    ) -> None:
        """`path` is the job's own; `on_broken` is called each time that the connection broke."""
        self._path, self._after, self._on_broken = path, after, on_broken
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._last_heard = time.monotonic()
        self._events: EventReader | None = None
        self.job: dict[str, Any] = {}
        """The job, once it has ended."""

    def read(self) -> Flow[ServerEvent | None]:
        """The next event; None once the job has ended.

        Raises `UnreachableError` where the service stays away for `PATIENCE_SECONDS`, `RefusedError` where it refuses,
        TimeoutError where the job goes on after `timeout_s`.
        """
        while True:
            try:
                if self._events is None:
                    yield from self._open()
                event = None if self._events is None else (yield from self._events.read())
                if event is not None:
                    self._after = event.id
                    return event
                self._events = None
                self.job = yield from send(Call("GET", self._path))
                self._hear()
                if self.job["state"] in ENDED:
                    return None
            except RefusedError as error:
                self._events = None
                if error.retry_after_s is None or self._is_out_of_patience():
                    raise
            except UnreachableError:
                self._events = None
                self._check_deadline()
                if self._is_out_of_patience():
                    raise
                self._on_broken()
            yield Pause(RECONNECT_PAUSE_SECONDS)

    def _open(self) -> Flow[None]:
        headers = {} if self._after is None else {"Last-Event-ID": self._after}
        timeout = FOLLOW_TIMEOUT
        if self._deadline is not None:
            left = max(self._deadline - time.monotonic(), MIN_TIMEOUT_SECONDS)
            timeout = httpx.Timeout(min(left, FOLLOW_TIMEOUT_SECONDS), connect=FOLLOW_TIMEOUT.connect)
        reply: Reply = yield Open(Call("GET", f"{self._path}/events", headers=headers, timeout=timeout))
        reply.check()
        self._events = EventReader(self._hear)

    def _hear(self) -> None:
        self._last_heard = time.monotonic()
        self._check_deadline()

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError(f"{self._path} still goes on")

    def _is_out_of_patience(self) -> bool:
        return time.monotonic() - self._last_heard > PATIENCE_SECONDS


def download(call: Call, target: Path, progress: Progress | None = None) -> Flow[Path]:
    """Write the reply to a file, chunk by chunk; raises as `send`, and does not touch `target` where it is refused."""
    reply = yield from exchange(call, Open)
    length = reply.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    received = 0
    with target.open("wb") as file:
        while (chunk := (yield ReadChunk())) is not None:
            yield Block(partial(file.write, chunk))
            received += len(chunk)
            if progress is not None:
                progress(received, total)
    return target


def check_digest(path: Path, sha256: str) -> Flow[None]:
    """Raises `DamagedFileError` unless the file has this SHA-256."""

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    if (yield Block(digest)) != sha256:
        raise DamagedFileError(f"{path.name} arrived damaged")
