"""Which models are live in this process: loaded once, shared by everyone, evicted under a memory budget.

Everything but the loading itself happens in one event loop, which is what keeps the bookkeeping free of locks.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from app.errors import OverloadedError, VisionError
from app.inference import device
from app.inference.accounting import charge_models
from app.inference.errors import ModelUnavailableError, OutOfMemoryError
from app.inference.family import FamilyTable
from app.inference.live import LiveEncoder
from app.inference.live_vlm import LiveVlm
from app.inference.memory import is_out_of_memory
from app.inference.model_info import ModelInfo, describe
from app.inference.observing import ModelObserver
from app.inference.opening import ModelOpener
from app.inference.protocols import RemoteModel
from app.inference.sources import CHECKPOINTS, EncoderSource, Kind
from app.settings import Settings

CLOSE_SECONDS = 5.0  # loads cannot be stopped, and a download may take long
_Key = tuple[Kind, str, str]
"""Kind, name and location: two folders of one name are two models."""


@dataclass(eq=False)
class _Slot:
    kind: Kind
    source: EncoderSource
    live: LiveEncoder | LiveVlm
    last_used: float = field(default_factory=time.monotonic)


class ModelRegistry:
    """Lends live encoders and vision-language models.

    The budget is soft. Idle models are evicted, least recently used first, before and after a load and when a loan
    ends; one in use never is. A model that does not fit beside those in use is loaded all the same (the default budget
    is half of the memory, and refusing would lock all others out), and the surplus goes when something is idle.
    """

    def __init__(
        self,
        settings: Settings,
        families: FamilyTable,
        *,
        pool: ThreadPoolExecutor,
        observer: ModelObserver | None = None,
    ) -> None:
        """`pool` prepares images for every model; the caller closes it after this."""
        self._settings = settings
        self._families = families
        self._opener = ModelOpener(settings, families, pool, observer)
        self._observer = observer
        self._slots: dict[_Key, _Slot] = {}
        self._loads: dict[_Key, asyncio.Task[None]] = {}
        self._users: Counter[_Key] = Counter()
        self._sizes: dict[_Key, int] = {}
        self._trims: set[asyncio.Task[None]] = set()
        self._doomed: set[_Key] = set()
        """Models that were removed while somebody used them."""
        self._changing = asyncio.Lock()
        self._remotes: dict[str, RemoteModel] = {}
        self._closed = False
        self._watchers: list[Callable[[], None]] = []

    @asynccontextmanager
    async def encoder(self, name: str | None = None) -> AsyncIterator[LiveEncoder]:
        """The encoder of that name (the default without one), loaded if need be and kept while in use.

        Raises ModelNotFoundError, ModelUnavailableError (a later try loads again), OutOfMemoryError.
        """
        async with self._lend("encoder", self._resolve("encoder", name)) as live:
            if not isinstance(live, LiveEncoder):
                raise TypeError("the slot holds no encoder")
            yield live

    @asynccontextmanager
    async def vlm(self, name: str | None = None) -> AsyncIterator[LiveVlm | RemoteModel]:
        """The vision-language model of that name (the default without one), likewise.

        One that runs on a server that the settings name takes no memory here.
        """
        name = name or self._settings.answers.vlm
        family = self._families.find(name)
        if family is not None and family.connects:
            if name not in self._remotes:
                self._remotes[name] = family.connect(self._settings)
            yield self._remotes[name]
            return
        async with self._lend("vlm", self._resolve("vlm", name)) as live:
            if not isinstance(live, LiveVlm):
                raise TypeError("the slot holds no vision-language model")
            yield live

    @asynccontextmanager
    async def _lend(self, kind: Kind, source: EncoderSource) -> AsyncIterator[LiveEncoder | LiveVlm]:
        key = _key(kind, source)
        self._users[key] += 1  # before the load, or another load could evict it before it was ever used
        try:
            slot = await self._slot(kind, source)
            yield slot.live
            slot.last_used = time.monotonic()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                if key in self._doomed:
                    self._doomed.discard(key)
                    self._later(self.forget(key[2]))
            self._trim_later()

    def _resolve(self, kind: Kind, name: str | None) -> EncoderSource:
        default = self._settings.models.encoder if kind == "encoder" else self._settings.answers.vlm
        return self._families.resolve(kind, name or default)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed`, which must be quick, whenever a model came or went; what is returned ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def live(self) -> list[ModelInfo]:
        """Loaded models, the most recently used first."""
        return [info for _, info in self.list_located()]

    def list_located(self) -> list[tuple[str, ModelInfo]]:
        """The same, each with where its files lie."""
        slots = sorted(self._slots.values(), key=lambda slot: -slot.last_used)
        sizes = self._charge_models()
        return [(slot.source.location, self._describe(slot.kind, slot.source, slot, sizes)) for slot in slots]

    def list_models(self) -> list[ModelInfo]:
        """The default, what ships with this project, and what is live; each once, under its name.

        Not the trained models of a workspace, loaded or not: what is known here, any client may name.
        """
        settings = self._settings
        own = sorted(folder.name for folder in CHECKPOINTS.iterdir()) if CHECKPOINTS.is_dir() else []
        sources = {key: slot.source for key, slot in self._slots.items() if not self._is_private(slot.source)}
        kinds: list[tuple[Kind, list[str]]] = [
            ("encoder", [settings.models.encoder, *self._list_built_ins("encoder"), *own]),
            ("vlm", [settings.answers.vlm, settings.answers.captioner, *self._list_built_ins("vlm"), *own]),
        ]
        for kind, names in kinds:
            for name in names:
                # a checkpoint of the other kind, or a default that is not there (yet)
                with suppress(VisionError):
                    source = self._families.resolve(kind, name)
                    sources.setdefault(_key(kind, source), source)
        sizes = self._charge_models()
        known = [
            self._describe(key[0], source, self._slots.get(key), sizes) for key, source in sources.items()
        ]
        for family in self._families.of_kind("vlm"):
            if family.connects and family.has_server(settings):
                default = settings.answers.vlm == family.name
                tasks = ("caption", "vqa")
                known.append(ModelInfo(family.name, family.name, (), default, "vlm", tasks, live=True))
        return known

    def live_at(self, location: str) -> ModelInfo | None:
        """The loaded model whose files lie there; None where it is not in memory."""
        for key, slot in self._slots.items():
            if key[2] == location:
                return self._describe(slot.kind, slot.source, slot, self._charge_models())
        return None

    def is_taken(self, name: str) -> bool:
        """Whether clients mean something else by it than a trained model: one that is known, or a family."""
        if name == "default" or self._families.find(name) is not None:
            return True
        return any(name in (model.name, *model.aliases) for model in self.list_models())

    def family_names(self) -> list[str]:
        """Names of families, by which no model may go."""
        return [family.name for kind in get_args(Kind) for family in self._families.of_kind(kind)]

    async def stats(self) -> list[ModelInfo]:
        """As `live`, which has the newest figures here."""
        return self.live()

    async def forget(self, location: str) -> None:
        """Give back the memory of a model that was removed.

        At once where it is idle, else when its last user goes, or when the load ends that is under way.
        """
        for key in [key for key in {*self._slots, *self._loads, *self._users} if key[2] == location]:
            if self._users[key]:
                self._doomed.add(key)
            elif key in self._loads:
                self._later(self._retire(key))
            else:
                await self._retire(key)

    async def _retire(self, key: _Key) -> None:
        if load := self._loads.get(key):
            await asyncio.wait([load])
        async with self._changing:
            if self._users[key]:  # somebody came while this waited
                self._doomed.add(key)
            elif key in self._slots:
                await self._unload(key)

    def budget_bytes(self) -> int:
        """How much memory live models may take together."""
        if self._settings.models.model_memory_mb:
            return self._settings.models.model_memory_mb << 20
        return device.parse(self._settings.models.device).memory_bytes // 2

    async def close(self) -> None:
        """Fail what waits and give every model's memory back, unless a load under way outlasts `CLOSE_SECONDS`."""
        self._closed = True
        for remote in self._remotes.values():
            await remote.close()
        under_way = {*self._loads.values(), *self._trims}
        if under_way and (await asyncio.wait(under_way, timeout=CLOSE_SECONDS))[1]:
            return
        async with self._changing:
            for key in list(self._slots):
                await self._unload(key)

    async def _slot(self, kind: Kind, source: EncoderSource) -> _Slot:
        key = _key(kind, source)
        while (slot := self._slots.get(key)) is None:
            if self._closed:
                raise OverloadedError("The service is shutting down.")
            task = self._loads.get(key)
            if task is None or task.done():  # one that has ended is waited for without letting others run
                task = self._loads[key] = asyncio.create_task(self._load(kind, source))
                task.add_done_callback(lambda done: self._forget_load(key, done))
            await asyncio.shield(task)  # one caller leaving must not stop the load that others wait for
        return slot

    def _forget_load(self, key: _Key, task: asyncio.Task[None]) -> None:
        if self._loads.get(key) is task:
            del self._loads[key]
        if not task.cancelled():
            task.exception()  # seen, even when every caller has left

    async def _load(self, kind: Kind, source: EncoderSource) -> None:
        """One load at a time: two at once would need the memory of both before either is counted."""
        key = _key(kind, source)
        async with self._changing:
            await self._make_room(self._sizes.get(key, 0))
            began = time.monotonic()
            try:
                opening = self._opener.open_encoder if kind == "encoder" else self._opener.open_vlm
                live: LiveEncoder | LiveVlm = await asyncio.to_thread(opening, source)
            except Exception as error:
                if self._observer:
                    self._observer.model_load_failed(source.name, type(error).__name__)
                if isinstance(error, VisionError):
                    raise
                if is_out_of_memory(error):
                    raise OutOfMemoryError from error
                raise ModelUnavailableError(model=source.name) from error
            self._slots[key] = _Slot(kind, source, live)
            size = self._sizes[key] = self._charge_models()[key]
            self._tell_watchers()
            if self._observer:
                self._observer.model_loaded(source.name, time.monotonic() - began, size)
            await self._make_room(0, keep=key)
            if self._closed:  # meanwhile, without waiting for this
                await self._unload(key)

    async def _make_room(self, needed: int, keep: _Key | None = None) -> None:
        """Evict idle models, the least recently used first, until `needed` more bytes fit the budget."""
        budget = self.budget_bytes()
        while self._count_used_bytes() + needed > budget:
            idle = [key for key in self._slots if not self._users[key] and key != keep]
            if not idle:
                return
            await self._unload(min(idle, key=lambda key: self._slots[key].last_used))

    async def _unload(self, key: _Key) -> None:
        slot = self._slots.pop(key)  # first, so that nobody borrows it any more
        self._tell_watchers()
        await asyncio.to_thread(slot.live.close)
        name = slot.source.name
        del slot
        await asyncio.to_thread(gc.collect)
        if self._observer:
            self._observer.model_unloaded(name)

    def _tell_watchers(self) -> None:
        for changed in self._watchers:
            changed()

    def _trim_later(self) -> None:
        if self._closed or len(self._slots) < 2 or self._count_used_bytes() <= self.budget_bytes():
            return

        async def trim() -> None:
            async with self._changing:
                newest = max(self._slots, key=lambda key: self._slots[key].last_used, default=None)
                await self._make_room(0, keep=newest)

        self._later(trim())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._trims.add(task)
        task.add_done_callback(self._trims.discard)

    def _count_used_bytes(self) -> int:
        return sum(self._charge_models().values())

    def _charge_models(self) -> dict[_Key, int]:
        """Bytes by model; a base that several share counts once."""
        return charge_models({key: slot.live for key, slot in self._slots.items()})

    def _describe(
        self, kind: Kind, source: EncoderSource, slot: _Slot | None, sizes: dict[_Key, int]
    ) -> ModelInfo:
        live = None if slot is None else slot.live
        key = _key(kind, source)
        default = self._is_default(kind, source)
        users, declared = self._users[key], self._families.declared_tasks
        info = describe(kind, source, live, default=default, users=users, declared=declared)
        return info if live is None else replace(info, memory_bytes=sizes[key])

    def _list_built_ins(self, kind: Kind) -> list[str]:
        return [family.built_in for family in self._families.of_kind(kind) if family.built_in]

    def _is_private(self, source: EncoderSource) -> bool:
        return source.is_local and Path(source.location).is_relative_to(self._opener.config.trained_dir)

    def _is_default(self, kind: Kind, source: EncoderSource) -> bool:
        try:
            return _key(kind, self._resolve(kind, None)) == _key(kind, source)
        except VisionError:
            return False


def _key(kind: Kind, source: EncoderSource) -> _Key:
    return kind, source.name, source.location
