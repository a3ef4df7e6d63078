"""One loaded encoder at work: images prepared in the decode pool, batched with everyone's, texts remembered."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from app.inference.accounting import Base
from app.inference.aspect import bound_aspect, is_bounded
from app.inference.batcher import Batcher
from app.inference.errors import DeadlineExceededError, ModelTaskError
from app.inference.observing import BatcherStats, BatchObserver
from app.inference.pipeline import PipelinedBatcher
from app.inference.protocols import (
    Encoder,
    HasOptimisation,
    ImageOrMaker,
    Launching,
    Pixels,
    Rgb,
    TextEncoder,
    Vectors,
    min_decoded_side,
    same_for_all,
)
from app.inference.resizing import as_pixels
from app.media.encoded import EncodedJpeg, decode_encoded


@runtime_checkable
class Closable(Protocol):
    """An encoder that holds what others share."""

    def close(self) -> None:
        """Give back what it shares with others."""


def close_encoder(encoder: Encoder) -> None:
    """End what an encoder does in the background, and give back the device's memory and what it shares. Blocks."""
    if isinstance(encoder, Launching) and encoder.launcher is not None:
        encoder.launcher.close()
    if isinstance(encoder, Closable):
        encoder.close()


class LiveEncoder:
    """An encoder and its batcher. All methods belong to one event loop, except `close`."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        pool: ThreadPoolExecutor,
        max_batch: int,
        max_queue: int,
        max_cached_texts: int,
        observer: BatchObserver | None = None,
    ) -> None:
        """`pool` prepares images; it is shared and not closed here."""
        self._encoder = encoder
        self.name, self.family = encoder.name, encoder.family
        self.dim, self.input_size, self.temperature = (
            encoder.dim,
            encoder.input_size,
            float(encoder.temperature),
        )
        self.fingerprint, self.memory_bytes = encoder.fingerprint, encoder.memory_bytes
        self.min_decoded_side = min_decoded_side(encoder)
        """See `app.inference.protocols.Reducing`."""
        self.reads_texts = isinstance(encoder, TextEncoder)
        """Whether the encoder puts texts into the space of its images."""
        self.optimisation = encoder.optimisation if isinstance(encoder, HasOptimisation) else None
        self.bases: tuple[Base, ...] = tuple(getattr(encoder, "bases", ()))
        """What an adapted encoder shares with others; nothing for one that is whole."""
        self.key = f"{encoder.name}@{encoder.fingerprint}"
        """Names the vector space: vectors of two keys never mix."""
        self._pool = pool
        self._observer = observer
        self._text_wave = min(max_batch, max_queue)
        self._max_cached_texts = max_cached_texts
        self._texts: OrderedDict[str, Vectors] = OrderedDict()
        self._max_batch = max_batch
        self._stack: Pixels | None = None
        self._launcher = encoder.launcher if isinstance(encoder, Launching) else None
        self.reads_jpeg = self._launcher is not None and self._launcher.reads_jpeg
        """Whether it takes JPEG files undecoded."""
        self._batcher = self._new_batcher(max_batch, max_queue)
        if self._launcher is not None:
            self._launcher.warm(self._batcher.allow)

    def _new_batcher(self, max_batch: int, max_queue: int) -> Batcher[Any, Vectors]:
        if self._launcher is None:
            return Batcher(
                self.name, self._run, max_batch=max_batch, max_queue=max_queue, observer=self._observer
            )
        return PipelinedBatcher(
            self.name,
            self._run,
            self._launch,
            max_batch=max_batch,
            max_queue=max_queue,
            observer=self._observer,
        )

    async def embed_images(self, images: Sequence[ImageOrMaker], *, deadline_s: float) -> Vectors:
        """float32[n, d], one unit row an image, in order.

        Given functions instead of images, each is called in the decode pool right before its image is
        prepared, so that never more full-size images exist than the pool has threads. Raises what these
        functions raise, OverloadedError, DeadlineExceededError and OutOfMemoryError; then, and when the
        caller is cancelled, the images still waiting are dropped.
        """
        if not images:
            return self._no_vectors()
        deadline = time.monotonic() + deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                if len(images) == 1:
                    return (await self._embed_image(images[0], deadline))[np.newaxis]
                tasks = [asyncio.create_task(self._embed_image(image, deadline)) for image in images]
                try:
                    return np.stack(await asyncio.gather(*tasks))
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except TimeoutError:
            raise DeadlineExceededError from None

    async def embed_texts(self, texts: Sequence[str], *, deadline_s: float) -> Vectors:
        """float32[n, d], one unit row a text, in order; repeated texts are computed once and remembered.

        New texts are queued a batch at a time, so that a long list neither fills the queue nor holds up
        others. Raises ModelTaskError where the encoder reads images only, OverloadedError, DeadlineExceededError and
        OutOfMemoryError.
        """
        if not texts:
            return self._no_vectors()
        if not self.reads_texts:
            raise ModelTaskError.images_only(self.name)
        deadline = time.monotonic() + deadline_s
        vectors: dict[str, Vectors] = {}
        for text in dict.fromkeys(texts):
            if text in self._texts:
                self._texts.move_to_end(text)
                vectors[text] = self._texts[text]
        # Texts of one length share a batch: the shorter would be padded to the longest.
        missing = sorted({text for text in texts if text not in vectors}, key=lambda text: (len(text), text))
        for start in range(0, len(missing), self._text_wave):
            wave = missing[start : start + self._text_wave]
            rows = await self._batcher.submit_many("text", wave, deadline=deadline)
            for text, row in zip(wave, rows, strict=True):
                vectors[text] = self._texts[text] = row
        while len(self._texts) > self._max_cached_texts:
            self._texts.popitem(last=False)
        return np.stack([vectors[text] for text in texts])

    async def embed_questions(self, questions: Sequence[str], *, deadline_s: float) -> Vectors:
        """As `embed_texts`, for what is found by image and text together: where the encoder reads images only, every
        text is the same unit vector, so that the image alone decides.
        """
        if self.reads_texts:
            return await self.embed_texts(questions, deadline_s=deadline_s)
        return same_for_all(len(questions), self.dim)

    @property
    def runtime(self) -> str:
        """How it runs, for people; on a GPU it changes while graphs are recorded."""
        return self._encoder.runtime

    def stats(self) -> BatcherStats:
        """The batcher's totals so far."""
        return self._batcher.stats()

    def close(self) -> None:
        """Fail what waits, let the running batch finish, end the thread and give back what is shared. Blocks."""
        self._batcher.close()
        close_encoder(self._encoder)

    async def _embed_image(self, image: ImageOrMaker, deadline: float) -> Vectors:
        item: Any = image
        if not self._is_prepared(image):
            loop = asyncio.get_running_loop()
            item = await loop.run_in_executor(self._pool, self._prepare, image, deadline)
        return await self._batcher.submit("image", item, deadline=deadline)

    def _is_prepared(self, image: ImageOrMaker) -> bool:
        """Whether the device takes it as it is: a thread would only cost what handing over to it costs."""
        if self._launcher is None:
            return False
        if isinstance(image, EncodedJpeg):
            return self.reads_jpeg and is_bounded(image.width, image.height)
        return isinstance(image, np.ndarray) and is_bounded(image.shape[1], image.shape[0])

    def _prepare(self, image: ImageOrMaker, deadline: float) -> Pixels | Rgb | EncodedJpeg:
        if time.monotonic() >= deadline:
            raise DeadlineExceededError
        began = time.perf_counter()
        decoded = image() if callable(image) else image
        if isinstance(decoded, EncodedJpeg):
            if self.reads_jpeg and is_bounded(decoded.width, decoded.height):
                return decoded
            decoded = decode_encoded(decoded)
        ready = time.perf_counter()
        within = bound_aspect(as_pixels(decoded))
        pixels = within if self._launcher is not None else self._encoder.preprocess(within)
        if self._observer is not None:
            self._observer.image_prepared(self.name, ready - began, time.perf_counter() - ready)
        return pixels

    def _launch(self, group: str, items: list[Any]) -> Callable[[], Sequence[Vectors]] | None:
        """In the batcher's thread: images are queued on the device, texts run."""
        if self._launcher is None or group != "image":
            return None
        pending = self._launcher.launch(items)
        return lambda: [row.copy() for row in pending()]

    def _run(self, group: str, items: list[Any]) -> Sequence[Vectors]:
        """In the batcher's thread. Rows are copied, or one result would keep its whole batch alive."""
        if group == "image" and self._launcher is not None:
            return [row.copy() for row in self._launcher.launch(items)()]
        if group == "image":
            return [row.copy() for row in self._encoder.encode_images(self._stack_items(items))]
        return [row.copy() for row in cast(TextEncoder, self._encoder).encode_texts(items)]

    def _stack_items(self, items: list[Pixels]) -> Pixels:
        """The items as one array, in memory that every batch uses again."""
        shape = items[0].shape
        if any(item.shape != shape for item in items):
            raise ValueError("images of one batch must have one shape")
        if self._stack is None or (self._stack.shape[1:], self._stack.dtype) != (shape, items[0].dtype):
            self._stack = np.empty((self._max_batch, *shape), items[0].dtype)
        for row, item in zip(self._stack, items, strict=False):
            row[...] = item
        return self._stack[: len(items)]

    def _no_vectors(self) -> Vectors:
        return np.zeros((0, self.dim), np.float32)
