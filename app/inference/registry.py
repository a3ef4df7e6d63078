"""Which encoders are live in this process: loaded once, shared by everyone, evicted under a memory budget.

Knows nothing of what they are used for. Everything but the loading itself happens in one event loop, which is
what keeps the bookkeeping free of locks.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from PIL import Image

from app.errors import ModelUnavailableError, OutOfMemoryError, OverloadedError, VisionError
from app.inference import device
from app.inference.encoders import EncoderConfig, EncoderSource, load_encoder, resolve
from app.inference.encoders.source import CHECKPOINTS
from app.inference.live import LiveEncoder
from app.inference.memory import is_out_of_memory
from app.inference.observing import BatcherStats, ModelObserver
from app.inference.protocols import Encoder
from app.settings import Settings

_Key = tuple[str, str]
"""Name and location: two folders of one name are two models."""


@dataclass(frozen=True)
class ModelInfo:
    """An encoder as people and the catalog see it; what only a loaded one knows is None before."""

    name: str
    family: str
    aliases: tuple[str, ...]
    default: bool
    live: bool = False
    dim: int | None = None
    input_size: int | None = None
    memory_bytes: int | None = None
    runtime: str | None = None
    fingerprint: str | None = None
    users: int = 0
    """Requests using it right now."""
    batches: BatcherStats | None = None


@dataclass(eq=False)
class _Slot:
    source: EncoderSource
    live: LiveEncoder
    last_used: float = field(default_factory=time.monotonic)

    @property
    def memory_bytes(self) -> int:
        return self.live.encoder.memory_bytes


class ModelRegistry:
    """Lends live encoders.

    The budget is soft. Idle models are evicted, least recently used first, before and after a load and when a
    loan ends; one in use never is. A model that does not fit beside those in use is loaded all the same (the
    default budget is half of the memory, and refusing would let a busy default model lock out every other),
    and the surplus goes as soon as something is idle.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        pool: ThreadPoolExecutor,
        observer: ModelObserver | None = None,
        load: Callable[[EncoderSource, EncoderConfig], Encoder] = load_encoder,
    ) -> None:
        """`pool` prepares images for every model; the caller closes it after this. `load` blocks."""
        self._settings = settings
        self._config = EncoderConfig.from_settings(settings)
        self._pool = pool
        self._observer = observer
        self._load_encoder = load
        self._slots: dict[_Key, _Slot] = {}
        self._loads: dict[_Key, asyncio.Task[None]] = {}
        self._users: Counter[_Key] = Counter()
        self._sizes: dict[_Key, int] = {}
        self._trims: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def encoder(self, name: str | None = None) -> AsyncIterator[LiveEncoder]:
        """The encoder of that name (the default without one), loaded if need be and kept while in use.

        Raises ModelNotFoundError, ModelUnavailableError (a later try loads again), OutOfMemoryError.
        """
        source = resolve(name or self._settings.encoder)
        key = _key(source)
        self._users[key] += 1  # before the load, or another load could evict it before it was ever used
        try:
            slot = await self._slot(source)
            yield slot.live
            slot.last_used = time.monotonic()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
            self._trim_later()

    def live(self) -> list[ModelInfo]:
        """Loaded encoders, the most recently used first."""
        slots = sorted(self._slots.values(), key=lambda slot: -slot.last_used)
        return [self._describe(slot.source, slot) for slot in slots]

    def known(self) -> list[ModelInfo]:
        """The default, what ships with this project, and what is live; each once, under its name."""
        names = [self._settings.encoder, "lite"]
        if CHECKPOINTS.is_dir():
            names += sorted(folder.name for folder in CHECKPOINTS.iterdir())
        sources: dict[_Key, EncoderSource] = {key: slot.source for key, slot in self._slots.items()}
        for name in names:
            try:
                source = resolve(name)
            except VisionError:  # a checkpoint of another kind, or a default that is not there (yet)
                continue
            sources.setdefault(_key(source), source)
        return [self._describe(source, self._slots.get(key)) for key, source in sources.items()]

    def budget_bytes(self) -> int:
        """How much memory live models may take together."""
        if self._settings.model_memory_mb:
            return self._settings.model_memory_mb << 20
        return device.parse(self._settings.device).memory_bytes // 2

    async def close(self) -> None:
        """Wait for loads under way, fail what waits, and give every model's memory back."""
        self._closed = True
        await asyncio.gather(*self._loads.values(), *self._trims, return_exceptions=True)
        async with self._changing:
            for key in list(self._slots):
                await self._unload(key)

    async def _slot(self, source: EncoderSource) -> _Slot:
        key = _key(source)
        while (slot := self._slots.get(key)) is None:
            if self._closed:
                raise OverloadedError("The service is shutting down.")
            task = self._loads.get(key)
            if task is None:
                task = self._loads[key] = asyncio.create_task(self._load(source))
                task.add_done_callback(lambda done: self._forget_load(key, done))
            await asyncio.shield(task)  # one caller leaving must not stop the load that others wait for
        return slot

    def _forget_load(self, key: _Key, task: asyncio.Task[None]) -> None:
        self._loads.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, even when every caller has left

    async def _load(self, source: EncoderSource) -> None:
        """One load at a time: two at once would need the memory of both before either is counted."""
        key = _key(source)
        async with self._changing:
            await self._make_room(self._sizes.get(key, 0))
            began = time.monotonic()
            try:
                encoder = await asyncio.to_thread(self._build, source)
            except Exception as error:
                if self._observer:
                    self._observer.model_load_failed(source.name, type(error).__name__)
                if isinstance(error, VisionError):
                    raise
                if is_out_of_memory(error):
                    raise OutOfMemoryError from error
                raise ModelUnavailableError(model=source.name) from error
            settings = self._settings
            live = LiveEncoder(
                encoder,
                pool=self._pool,
                max_batch=largest_batch(settings),
                max_queue=settings.max_queue,
                max_cached_texts=settings.max_cached_texts,
                observer=self._observer,
            )
            slot = self._slots[key] = _Slot(source, live)
            self._sizes[key] = slot.memory_bytes
            if self._observer:
                self._observer.model_loaded(source.name, time.monotonic() - began, slot.memory_bytes)
            await self._make_room(0, keep=key)

    def _build(self, source: EncoderSource) -> Encoder:
        """In a thread: load, then run both towers once, so that no request pays for the first run."""
        encoder = self._load_encoder(source, self._config)
        blank = Image.new("RGB", (encoder.input_size, encoder.input_size), "gray")
        encoder.encode_images(encoder.preprocess(blank)[None])
        encoder.encode_texts(["a photo"])
        return encoder

    async def _make_room(self, needed: int, keep: _Key | None = None) -> None:
        """Evict idle models, the least recently used first, until `needed` more bytes fit the budget."""
        budget = self.budget_bytes()
        while self._used_bytes() + needed > budget:
            idle = [key for key in self._slots if not self._users[key] and key != keep]
            if not idle:
                return
            await self._unload(min(idle, key=lambda key: self._slots[key].last_used))

    async def _unload(self, key: _Key) -> None:
        slot = self._slots.pop(key)  # first, so that nobody borrows it any more
        await asyncio.to_thread(slot.live.close)
        name = slot.source.name
        del slot
        await asyncio.to_thread(gc.collect)
        if self._observer:
            self._observer.model_unloaded(name)

    def _trim_later(self) -> None:
        if self._closed or len(self._slots) < 2 or self._used_bytes() <= self.budget_bytes():
            return

        async def trim() -> None:
            async with self._changing:
                newest = max(self._slots, key=lambda key: self._slots[key].last_used, default=None)
                await self._make_room(0, keep=newest)

        task = asyncio.create_task(trim())
        self._trims.add(task)
        task.add_done_callback(self._trims.discard)

    def _used_bytes(self) -> int:
        return sum(slot.memory_bytes for slot in self._slots.values())

    def _describe(self, source: EncoderSource, slot: _Slot | None) -> ModelInfo:
        try:
            default = _key(source) == _key(resolve(self._settings.encoder))
        except VisionError:
            default = False
        if slot is None:
            return ModelInfo(source.name, source.family, source.aliases, default)
        encoder = slot.live.encoder
        return ModelInfo(
            name=source.name,
            family=encoder.family,
            aliases=source.aliases,
            default=default,
            live=True,
            dim=encoder.dim,
            input_size=encoder.input_size,
            memory_bytes=slot.memory_bytes,
            runtime=encoder.runtime,
            fingerprint=encoder.fingerprint,
            users=self._users[_key(source)],
            batches=slot.live.stats(),
        )


def _key(source: EncoderSource) -> _Key:
    return source.name, source.location


def largest_batch(settings: Settings) -> int:
    """How many items one forward pass takes at most, on the device that the settings name.

    On CPU small: `lite` in ONNX Runtime on 2 cores takes 6.4 ms an image in batches of 4, 8.2 of 8 and 13.2
    of 32, whose activations no longer fit the cache.
    """
    on_cpu = device.parse(settings.device).kind == "cpu"
    return settings.cpu_max_batch if on_cpu else settings.max_batch
