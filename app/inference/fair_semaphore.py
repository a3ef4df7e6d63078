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
from typing import Protocol

from app.errors import OverloadedError
from app.inference.errors import DeadlineExceededError

MAX_RETRY_AFTER_SECONDS = 30
_SMOOTHING = 0.1
"""Weight of the newest interval between two releases in their running mean."""


class InFlight(Protocol):
    """How many callers each tenant has in, in all processes that share the places (`app.storage.tallies.InFlight`)."""

    def add(self, tenant: str, count: int, /) -> None:
        """Add `count` to what this process has of the tenant's load."""

    def is_behind(self, tenant: str, /) -> bool:
        """Whether another tenant has more, over all processes."""


class FairSemaphore:
    """A semaphore whose waiting tenants take turns (round robin). All methods belong to one event loop.

    Of several processes each has its part of the places. A tenant all of whose callers came to one of them, while
    another's came to all, gets half of that part by turns, which is a sixth of three: so who has fewer callers in than
    another, all processes together, comes in beyond the part too, up to as many again.
    """

    def __init__(
        self,
        limit: int,
        max_waiting: int,
        on_waiting: Callable[[int], None] = lambda count: None,
        in_flight: InFlight | None = None,
    ) -> None:
        """At most `limit` callers are in and `max_waiting` wait; `on_waiting` is told how many do.

        `in_flight` where other processes have a part of the places: then at most twice `limit` are in.
        """
        self._free = limit
        self._extra = 0 if in_flight is None else limit
        """Places left for those that are behind others."""
        self._in_flight = in_flight
        self._max_waiting = max_waiting
        self._on_waiting = on_waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[bool]]] = OrderedDict()
        """Tenants in the order of their turns, each with its callers in order of arrival; each is told whether its
        place is one of the extra ones.
        """
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
            self._note(tenant, +1)
            is_extra = False
        else:
            is_extra = await self._wait(tenant, deadline)
        try:
            yield
        finally:
            self._release(tenant, is_extra)

    async def _wait(self, tenant: str, deadline: float) -> bool:
        if self._waiting >= self._max_waiting:
            self._make_room(tenant)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(turn)
        self._count(+1)
        self._admit_behind(tenant)
        try:
            async with asyncio.timeout_at(self._on_loop_clock(deadline)):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release(tenant, turn.result())  # its turn came in the same moment as its end
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

    def _withdraw(self, tenant: str, turn: asyncio.Future[bool]) -> None:
        """Take a caller out, unless that has happened."""
        queue = self._queues.get(tenant)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        if not queue:
            del self._queues[tenant]
        self._count(-1)

    def _release(self, tenant: str, is_extra: bool) -> None:
        """Hand the place to the next tenant's first caller, an extra one to a caller of a tenant that is behind."""
        self._note(tenant, -1)
        now = time.monotonic()
        if self._released_at is not None and self._waiting:
            self._interval_s += _SMOOTHING * (now - self._released_at - self._interval_s)
        self._released_at = now
        if is_extra:
            self._extra += 1
        elif not self._hand_on():
            self._free += 1
        self._admit_behind(tenant)

    def _hand_on(self) -> bool:
        """Let the next tenant's first caller in; False where nobody waits."""
        while self._queues:
            tenant, queue = self._queues.popitem(last=False)
            if len(queue) > 1:
                self._queues[tenant] = queue
            if self._let_in(tenant, queue, is_extra=False):
                return True
        return False

    def _admit_behind(self, tenant: str) -> None:
        """Let callers of the tenant in beyond the limit while another has more of them in."""
        while (
            self._extra and self._in_flight and tenant in self._queues and self._in_flight.is_behind(tenant)
        ):
            queue = self._queues[tenant]
            if len(queue) == 1:
                del self._queues[tenant]
            self._extra -= self._let_in(tenant, queue, is_extra=True)

    def _let_in(self, tenant: str, queue: deque[asyncio.Future[bool]], *, is_extra: bool) -> bool:
        """Let the first caller of the queue in; False where it has left meanwhile."""
        turn = queue.popleft()
        self._count(-1)
        if turn.done():
            return False
        self._note(tenant, +1)
        turn.set_result(is_extra)
        return True

    def _note(self, tenant: str, count: int) -> None:
        if self._in_flight is not None:
            self._in_flight.add(tenant, count)

    def _count(self, change: int) -> None:
        self._waiting += change
        self._on_waiting(self._waiting)

    def _retry_after_s(self) -> int:
        return min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(self._waiting * self._interval_s)))

    @staticmethod
    def _on_loop_clock(deadline: float) -> float:
        return asyncio.get_running_loop().time() + deadline - time.monotonic()
