"""Requests, and the steps of which every verb is made.

A verb is a generator that yields steps and gets their outcomes: send this, read a line, pause. It waits for nothing
itself, so that the sync and the async transport carry out the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from llamafarm_vision.errors import error_of
from llamafarm_vision.images import ImageInput

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Call:
    """One request, in full; the same one can be sent several times."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    form: Mapping[str, str] | None = None
    images: tuple[tuple[str, ImageInput], ...] = ()
    """Images of the form, with the names of their fields; read when the call is first sent."""
    files: tuple[tuple[str, tuple[str, bytes]], ...] = ()
    """The same once they are read: field, file name, content."""
    body: Callable[[], Iterable[bytes]] | None = None
    """Makes the body's pieces, anew for each time that the call is sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: httpx.Timeout | None = None
    """None: the transport's own."""
    is_repeatable: bool = False
    """Whether it may be sent again where the service was too busy for it."""


@dataclass(frozen=True)
class Reply:
    """A reply; of one that is read piece by piece, `content` is empty unless it is an error."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes = b""

    def check(self) -> Reply:
        """Itself; raises the `RefusedError` of an error reply."""
        if not 200 <= self.status < 300:
            raise error_of(self.status, self.reason, self.headers, self.content)
        return self

    def read_json(self) -> Any:
        """Its JSON; None where it has no content."""
        return json.loads(self.content) if self.content else None


class Step:
    """What a flow asks its transport to do."""


@dataclass(frozen=True)
class Exchange(Step):
    """Send a call and read its whole reply: a `Reply`."""

    call: Call


@dataclass(frozen=True)
class Open(Step):
    """Send a call and leave its reply open for `ReadLine` or `ReadChunk`: a `Reply`. A flow has one open at a time."""

    call: Call


class ReadLine(Step):
    """The next line of the open reply, or None at its end."""


class ReadChunk(Step):
    """The next bytes of the open reply, or None at its end."""


@dataclass(frozen=True)
class Pause(Step):
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Block(Step, Generic[T]):
    """Call a function that may take a while, such as one that reads a file: what it returns."""

    function: Callable[[], T]


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Yield an item to the iterating caller."""

    item: T


Flow = Generator[Step, Any, R]
"""A verb with one result."""
ItemFlow = Generator[Step | Emit[T], Any, None]
"""A verb that hands out items while they come."""


def quote_segment(name: object) -> str:
    """`name` as one segment of a path; dots alone would lead to another one."""
    text = str(name)
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def drop_none(**values: Any) -> dict[str, Any]:
    """Those of the values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def form_fields(**values: Any) -> dict[str, str]:
    """Those of the values that were given, as the text fields of a form; lists as JSON."""
    return {name: _to_text(value) for name, value in drop_none(**values).items()}


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list) else str(value)
