"""One thread per model that runs whatever is waiting, as one batch, the moment the device is free."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from app.errors import OverloadedError, VisionError
from app.inference.errors import DeadlineExceededError, OutOfMemoryError
from app.inference.handoff import Outcome, Waiting, expire, hand_back, portable
from app.inference.memory import is_out_of_memory
from app.inference.observing import BatcherStats, BatchObserver

T = TypeVar("T")
R = TypeVar("R")

_LOGGER = logging.getLogger(__name__)
_REGROW_AFTER = 256
"""Batches without running out of memory after which a reduced largest batch doubles again."""
IDLE_CHECK_SECONDS = 1.0
"""How often an idle thread looks whether the interpreter is shutting down without having closed it."""
_MAX_RETRY_AFTER_SECONDS = 30


class Batcher(Generic[T, R]):
    """Runs `run(group, items) -> results` on a thread of its own, batching whatever waits.

    There is no window: a lone item runs at once, and while the device is busy the next batch gathers. A
    batch holds items of one group, in order of arrival, the group being that of the oldest waiting item.

    A batch that fails is tried again item by item, so that one bad item does not fail its neighbours. Out of
    memory halves the batch once, and later batches stay that small until many have succeeded.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[str, list[T]], Sequence[R]],
        *,
        max_batch: int,
        max_queue: int,
        observer: BatchObserver | None = None,
    ) -> None:
        """`run` is only called from the batcher's thread; `max_queue` counts waiting items of all groups."""
        self.name = name
        self._run = run
        self._configured_batch = max_batch
        self._max_queue = max_queue
        self._observer = observer
        self._wake = threading.Condition()
        self._groups: dict[str, deque[Waiting[T]]] = {}
        self._arrivals = 0
        self._good_batches = 0
        self._closed = False
        self._stats = BatcherStats(max_batch=max_batch)
        self._item_s = 0.0
        self._running: tuple[list[Waiting[T]], str] = ([], "")
        """The part that runs now and its group; touched by the batcher's thread alone."""
        self._thread = threading.Thread(target=self._serve, name=f"batcher-{name}", daemon=False)
        self._thread.start()

    # --- the event loop's side

    async def submit(self, group: str, item: T, *, deadline: float | None = None) -> R:
        """The result of one item; see `submit_many`."""
        return (await self.submit_many(group, [item], deadline=deadline))[0]

    async def submit_many(self, group: str, items: Sequence[T], *, deadline: float | None = None) -> list[R]:
        """The results of several items, in order; they are queued all together or not at all.

        `deadline` is a moment of `time.monotonic()`. Cancelling the caller takes waiting items out of the
        queue. Raises OverloadedError (queue full or closed), DeadlineExceededError, OutOfMemoryError, or what
        `run` raised for that item alone.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        if deadline is not None and deadline <= now:
            self._count_dropped("expired", len(items))
            raise DeadlineExceededError
        entries = self._enqueue(group, items, loop, now, deadline)
        timer = loop.call_later(deadline - now, expire, entries) if deadline is not None else None
        try:
            return [await entry.future for entry in entries]
        except BaseException:
            self._withdraw(group, entries)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def stats(self) -> BatcherStats:
        """Totals so far, from any thread."""
        with self._wake:
            return replace(self._stats)

    def join(self, fits: Callable[[T], bool]) -> list[T]:
        """Within `run`: more items of the running batch's group, which become part of it, behind those it has.

        In order of arrival, up to the first that `fits` refuses or that is younger than what another group waits with:
        a group that never runs dry does not keep the others waiting.
        """
        part, group = self._running
        with self._wake:
            queue = self._groups.get(group)
            if not queue:
                return []
            others = [waiting[0].number for name, waiting in self._groups.items() if name != group]
            limit = min(others, default=math.inf)
            taken: list[Waiting[T]] = []
            while queue and queue[0].number < limit and fits(queue[0].item):
                taken.append(queue.popleft())
            if not queue:
                del self._groups[group]
            self._stats.queue_depth -= len(taken)
        joined = self._still_wanted(taken)
        part.extend(joined)
        return [entry.item for entry in joined]

    def allow(self, max_batch: int) -> None:
        """Let batches grow to this size from now on, or hold them to it, from any thread; what running out of memory
        has taught meanwhile stays.
        """
        with self._wake:
            is_reduced = self._stats.max_batch < self._configured_batch
            self._configured_batch = max_batch
            self._stats.max_batch = min(self._stats.max_batch, max_batch) if is_reduced else max_batch
            self._wake.notify_all()

    def close(self) -> None:
        """Fail what waits, let the running batch finish, and join the thread. Blocks; may be called twice."""
        with self._wake:
            self._closed = True
            waiting = [entry for queue in self._groups.values() for entry in queue]
            self._groups.clear()
            self._stats.queue_depth = 0
            self._wake.notify_all()
        if waiting:
            error = OverloadedError("The model is being unloaded: try again shortly.")
            hand_back([Outcome(waiting, error=error)])
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _enqueue(
        self,
        group: str,
        items: Sequence[T],
        loop: asyncio.AbstractEventLoop,
        now: float,
        deadline: float | None,
    ) -> list[Waiting[T]]:
        with self._wake:
            if self._closed:
                raise OverloadedError("The model is being unloaded: try again shortly.")
            full = self._stats.queue_depth + len(items) > self._max_queue
            if not full:
                entries = [
                    Waiting(item, self._arrivals + i, loop, loop.create_future(), now, deadline)
                    for i, item in enumerate(items)
                ]
                self._arrivals += len(items)
                self._stats.queue_depth += len(items)
                self._groups.setdefault(group, deque()).extend(entries)
                self._wake.notify()
                return entries
            wait_s = self._stats.queue_depth * self._item_s
        self._count_dropped("full", len(items))
        raise OverloadedError(retry_after_s=min(_MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(wait_s))))

    def _withdraw(self, group: str, entries: Sequence[Waiting[T]]) -> None:
        """In the event loop: take what waits out of the queue; the submitter is gone or has its error."""
        with self._wake:
            queue = self._groups.get(group, deque())
            gone = {entry.number for entry in entries}
            kept = deque(entry for entry in queue if entry.number not in gone)
            removed = len(queue) - len(kept)
            self._stats.queue_depth -= removed
            if kept:
                self._groups[group] = kept
            else:
                self._groups.pop(group, None)
        expired = False
        for entry in entries:
            if entry.future.done() and not entry.future.cancelled():
                # Asking also tells asyncio that the error of a future nobody awaits was not forgotten.
                expired |= isinstance(entry.future.exception(), DeadlineExceededError)
            else:
                entry.future.cancel()
        if removed:
            self._count_dropped("expired" if expired else "cancelled", removed)

    def _count_dropped(self, reason: str, count: int) -> None:
        with self._wake:
            self._stats.dropped += count
        self._tell(lambda observer: observer.items_dropped(self.name, reason, count))

    def _tell(self, call: Callable[[BatchObserver], None]) -> None:
        if self._observer is None:
            return
        try:
            call(self._observer)
        except Exception:
            _LOGGER.exception("the observer of batcher %s failed", self.name)

    # --- the thread's side

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            group, entries = taken
            if entries:
                self._work(group, entries)
            # Nothing may keep the last batch's pixels alive while the thread waits for the next one.
            del taken, entries

    def _take(self) -> tuple[str, list[Waiting[T]]] | None:
        """The next batch (empty if all of it had expired), or None when it is time to stop."""
        with self._wake:
            while not self._groups:
                if self._closed or not threading.main_thread().is_alive():
                    return None
                self._wake.wait(IDLE_CHECK_SECONDS)
            group = min(self._groups, key=lambda name: self._groups[name][0].number)
            queue = self._groups[group]
            size = min(len(queue), self._stats.max_batch)
            taken = [queue.popleft() for _ in range(size)]
            if not queue:
                del self._groups[group]
            self._stats.queue_depth -= size
        return group, self._still_wanted(taken)

    def _still_wanted(self, entries: list[Waiting[T]]) -> list[Waiting[T]]:
        """Drop what was cancelled or is past its deadline, before it costs the device anything."""
        now = time.monotonic()
        alive = [entry for entry in entries if not entry.future.done()]
        late = [entry for entry in alive if entry.deadline is not None and entry.deadline <= now]
        if len(alive) < len(entries):
            self._count_dropped("cancelled", len(entries) - len(alive))
        if late:
            self._count_dropped("expired", len(late))
            hand_back([Outcome(late, error=DeadlineExceededError())])
            alive = [entry for entry in alive if entry not in late]
        return alive

    def _work(self, group: str, entries: list[Waiting[T]]) -> None:
        """Run a batch; whatever happens, every entry gets a result or an error."""
        began = time.monotonic()
        outcomes: list[Outcome[T]] = []
        parts = deque([entries])
        halved = False
        while parts:
            part = parts.popleft()
            results, error = self._attempt(group, part)
            if error is None:
                outcomes.append(Outcome(part, results))
            elif is_out_of_memory(error):
                if len(part) > 1 and not halved:
                    halved = True
                    middle = self._shrink(len(part))
                    parts.extendleft([part[middle:], part[:middle]])
                else:
                    self._shrink(len(part))
                    outcomes.append(Outcome(part, error=OutOfMemoryError()))
            elif len(part) > 1:
                wanted = self._still_wanted(part)
                parts.extend([entry] for entry in wanted)
            else:
                outcomes.append(Outcome(part, error=error))
        # What joined came after the batch began.
        waits_s = [max(0.0, began - entry.since) for entry in entries]
        self._finish(group, waits_s, time.monotonic() - began, outcomes)

    def _attempt(self, group: str, part: list[Waiting[T]]) -> tuple[Sequence[R], Exception | None]:
        self._running = (part, group)
        try:
            results = self._run(group, [entry.item for entry in part])
            if len(results) != len(part):
                raise RuntimeError(f"{self.name} gave {len(results)} results for {len(part)} items")
        except Exception as error:
            if len(part) == 1 and not isinstance(error, VisionError) and not is_out_of_memory(error):
                _LOGGER.exception("%s failed on one %s", self.name, group)
            return (), portable(error)
        except BaseException as error:
            return (), RuntimeError(f"{self.name} was interrupted by {type(error).__name__}")
        finally:
            self._running = ([], "")
        return results, None

    def _shrink(self, failed: int) -> int:
        """Remember that a batch of `failed` items was too large; the size that is tried next."""
        half = max(1, failed // 2)
        with self._wake:
            self._stats.out_of_memory += 1
            self._stats.max_batch = min(self._stats.max_batch, half)
            self._good_batches = 0
        return half

    def _finish(self, group: str, waits_s: list[float], run_s: float, outcomes: list[Outcome[T]]) -> None:
        """Count the batch before anybody has its results, who then finds it counted; observers hear of it later."""
        depth = self._count(waits_s, run_s)
        hand_back(outcomes)
        self._tell(lambda observer: observer.batch_ran(self.name, group, waits_s, run_s, depth))

    def _count(self, waits_s: list[float], run_s: float) -> int:
        """Add a batch to the statistics; what waits now."""
        with self._wake:
            stats = self._stats
            stats.batches += 1
            stats.items += len(waits_s)
            stats.largest_batch = max(stats.largest_batch, len(waits_s))
            stats.wait_s += sum(waits_s)
            stats.run_s += run_s
            self._item_s += 0.2 * (run_s / len(waits_s) - self._item_s)
            self._regrow()
            return stats.queue_depth

    def _regrow(self) -> None:
        if self._stats.max_batch == self._configured_batch:
            return
        self._good_batches += 1
        if self._good_batches >= _REGROW_AFTER:
            self._good_batches = 0
            self._stats.max_batch = min(self._configured_batch, 2 * self._stats.max_batch)
