"""Lets a bounded number of callers in at a time, and those of different tenants in turn.

First in, first out would give a tenant that keeps 250 requests waiting 250 places of every 258, and the other 8.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.errors import OverloadedError
from app.inference.errors import DeadlineExceededError

MAX_RETRY_AFTER_SECONDS = 30
_SMOOTHING = 0.1
"""Weight of the newest interval between two releases in their running mean."""


class FairSemaphore:
    """A semaphore whose waiting tenants take turns (round robin). All methods belong to one event loop."""

    def __init__(
        self, limit: int, max_waiting: int, on_waiting: Callable[[int], None] = lambda count: None
    ) -> None:
        """At most `limit` callers are in and `max_waiting` wait; `on_waiting` is told how many do."""
        self._free = limit
        self._max_waiting = max_waiting
        self._on_waiting = on_waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Tenants in the order of their turns, each with its callers in order of arrival."""
        self._waiting = 0
        self._interval_s = 0.0
        self._released_at: float | None = None

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return self._waiting

    @asynccontextmanager
    async def hold(self, tenant: str, *, deadline: float) -> AsyncIterator[None]:
        """Be in for as long as the block runs; `deadline` is a moment of `time.monotonic()`.

        Where all waiting places are taken, the last of the tenant that holds most of them goes, which may be this one.
        Raises OverloadedError with a time to come back, and DeadlineExceededError.
        """
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(tenant, deadline)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, tenant: str, deadline: float) -> None:
        if self._waiting >= self._max_waiting:
            self._make_room(tenant)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(turn)
        self._count(+1)
        try:
            async with asyncio.timeout_at(self._on_loop_clock(deadline)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # its turn came in the same moment as its end
            else:
                self._withdraw(tenant, turn)
            if isinstance(error, TimeoutError):
                raise DeadlineExceededError from None
            raise

    def _make_room(self, tenant: str) -> None:
        largest, queue = max(self._queues.items(), key=lambda item: len(item[1]), default=(tenant, deque()))
        overloaded = OverloadedError(retry_after_s=self._retry_after_s())
        if len(queue) <= len(self._queues.get(tenant, ())) + 1:
            raise overloaded
        last = queue[-1]
        self._withdraw(largest, last)
        last.set_exception(overloaded)

    def _withdraw(self, tenant: str, turn: asyncio.Future[None]) -> None:
        """Take a caller out, unless that has happened."""
        queue = self._queues.get(tenant)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        if not queue:
            del self._queues[tenant]
        self._count(-1)

    def _release(self) -> None:
        """Hand the place to the next tenant's first caller."""
        now = time.monotonic()
        if self._released_at is not None and self._waiting:
            self._interval_s += _SMOOTHING * (now - self._released_at - self._interval_s)
        self._released_at = now
        while self._queues:
            tenant, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            self._count(-1)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _count(self, change: int) -> None:
        self._waiting += change
        self._on_waiting(self._waiting)

    def _retry_after_s(self) -> int:
        return min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(self._waiting * self._interval_s)))

    @staticmethod
    def _on_loop_clock(deadline: float) -> float:
        return asyncio.get_running_loop().time() + deadline - time.monotonic()
