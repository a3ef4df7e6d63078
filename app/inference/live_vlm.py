"""A loaded vision-language model and the thread that answers for it: requests waiting together run together."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.inference.accounting import Base
from app.inference.batcher import Batcher
from app.inference.errors import DeadlineExceededError
from app.inference.observing import BatcherStats, BatchObserver
from app.inference.prompts import Answer, Generation, Prompt, Task
from app.inference.protocols import Vlm

_NICENESS = 10


class LiveVlm:
    """Answers prompts concurrently: packed in the pool, generated in batches on the model's own thread."""

    takes_text_alone = False

    def __init__(
        self,
        vlm: Vlm,
        pool: ThreadPoolExecutor,
        *,
        max_batch: int,
        max_queue: int,
        observer: BatchObserver | None = None,
    ) -> None:
        """On a CPU, generating has a lower priority than what serves short requests."""
        self.name = vlm.name
        self.family = vlm.family
        self.runtime = vlm.runtime
        self.optimisation = vlm.optimisation
        self.bases: tuple[Base, ...] = vlm.bases
        """What it shares with the base model and with other adapters."""
        self.several_images = vlm.several_images
        self.tasks: frozenset[Task] = vlm.tasks
        self._vlm = vlm
        self._pool = pool
        self._yields = vlm.device.type == "cpu"
        self._joins = getattr(vlm, "takes_more", False)
        self._tails: set[asyncio.Task[Answer]] = set()
        self._batcher: Batcher[Generation, Answer] = Batcher(
            vlm.name, self._run, max_batch=max_batch, max_queue=max_queue, observer=observer
        )

    @property
    def memory_bytes(self) -> int:
        """What it takes now; keys and values of answers under way make it grow."""
        return self._vlm.memory_bytes

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """The answer, as soon as its own row of the batch ends, and the indices of the examples that fitted.

        `on_text` is called in the event loop with each new piece. Cancelling stops the row at its next token.
        Raises QuestionTooLongError, OverloadedError, DeadlineExceededError, OutOfMemoryError.
        """
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + deadline_s
        packing = loop.run_in_executor(self._pool, self._vlm.pack, prompt)
        try:
            generation = await asyncio.wait_for(packing, deadline_s)
        except TimeoutError:
            raise DeadlineExceededError from None
        ended: asyncio.Future[Answer] = loop.create_future()
        gone = threading.Event()
        generation.cancelled = gone.is_set
        generation.on_done = lambda answer: _post(loop, _settle, ended, answer)
        if on_text is not None:
            generation.on_text = lambda piece: _post(loop, on_text, piece)
        task = asyncio.create_task(
            self._batcher.submit(self._vlm.group(generation), generation, deadline=deadline)
        )
        try:
            await asyncio.wait({ended, task}, return_when=asyncio.FIRST_COMPLETED)
            answer = ended.result() if ended.done() else task.result()
        finally:
            gone.set()
            if not task.done() and not ended.done():
                task.cancel()
            self._tails.add(task)
            task.add_done_callback(self._forget)
        return answer, generation.examples_used

    def _forget(self, task: asyncio.Task[Answer]) -> None:
        """A row that ended before its batch leaves a task behind, whose late error concerns nobody."""
        self._tails.discard(task)
        if not task.cancelled():
            task.exception()

    def _run(self, group: str, batch: list[Generation]) -> Sequence[Answer]:
        if self._yields:
            self._yields = False
            _yield_to_others()
        if self._joins:
            return self._vlm.generate(batch, self._batcher.join)
        return self._vlm.generate(batch)

    def stats(self) -> BatcherStats:
        """The batcher's totals so far."""
        return self._batcher.stats()

    def close(self) -> None:
        """Fail what waits, end the thread, drop the weights. Blocks."""
        self._batcher.close()
        self._vlm.close()
        self.bases = ()


def _yield_to_others() -> None:
    """In the model's thread, before it has helpers, which inherit it: a long answer leaves the cores to others.

    Fewer threads would do so too, but torch counts them for the whole process, encoders included.
    """
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    """From the model's thread into the loop; a loop that has closed wants nothing more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *args)
