"""How one item waits in an event loop while a thread works on it, and how its result comes back.

A future is only ever touched in the loop that made it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.inference.errors import DeadlineExceededError

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Waiting(Generic[T]):
    """One item on its way; `future` is touched only by the event loop it belongs to."""

    item: T
    number: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    since: float
    deadline: float | None


@dataclass(eq=False, slots=True)
class Outcome(Generic[T]):
    """What one part of a batch came to: a result for each entry, or one error for all."""

    entries: list[Waiting[T]]
    results: Sequence[Any] = ()
    error: Exception | None = None


def portable(error: Exception) -> Exception:
    """An error fit to leave its thread: no tracebacks, whose frames would keep a batch's tensors alive."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    # A future refuses StopIteration.
    return RuntimeError("StopIteration") if isinstance(error, StopIteration) else error


def expire(entries: Sequence[Waiting[Any]]) -> None:
    """In the event loop: give every awaiter that is still waiting its error, also while its batch runs."""
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(DeadlineExceededError())


def hand_back(outcomes: Sequence[Outcome[Any]]) -> None:
    """From any thread: settle the futures, one call per event loop; a loop that is gone has no awaiters."""
    for loop in {entry.loop for outcome in outcomes for entry in outcome.entries}:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_settle, loop, outcomes)


def _settle(loop: asyncio.AbstractEventLoop, outcomes: Sequence[Outcome[Any]]) -> None:
    for outcome in outcomes:
        for index, entry in enumerate(outcome.entries):
            if entry.loop is not loop or entry.future.done():
                continue
            if outcome.error is not None:
                entry.future.set_exception(outcome.error)
            else:
                entry.future.set_result(outcome.results[index])
