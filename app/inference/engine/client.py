"""The models of engine processes, as a front end lends them: an `Engine` over Unix sockets.

Images are decoded here, straight into memory that the engine shares; facts of models and what is known are kept here,
so that most requests cost one message and its answer.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from app.inference.engine import messages as wire
from app.inference.engine.catalogs import merge_models
from app.inference.engine.channel import Channel, engine_gone
from app.inference.engine.connection import EngineConnection, EngineObserver
from app.inference.engine.placement import Placement, choose_engine
from app.inference.engine.remote import RemoteEncoder, RemoteVlm
from app.inference.errors import EngineUnavailableError
from app.inference.model_info import ModelInfo
from app.inference.sources import Kind
from app.settings import Settings

STATS_SECONDS = 5.0


class EngineClient:
    """Lends the models of one or several engines. All methods belong to one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        token: str,
        settings: Settings,
        pool: ThreadPoolExecutor,
        observer: EngineObserver | None = None,
        *,
        placement: Placement = "replicate",
    ) -> None:
        """`endpoints` are the paths of the engines' sockets; `pool` decodes images and is not closed here."""
        self._settings = settings
        self._pool = pool
        self._placement: Placement = placement
        self._changed = asyncio.Event()
        self._engines = [
            EngineConnection(endpoint, token, settings, on_change=self._note_change, observer=observer)
            for endpoint in endpoints
        ]
        self._keeping: list[asyncio.Task[None]] = []
        self._turns = itertools.count(1)
        self._known: list[ModelInfo] | None = None

    async def start(self) -> None:
        """Begin to connect to the engines, which need not be there yet."""
        self._keeping = [asyncio.create_task(engine.keep()) for engine in self._engines]

    async def close(self) -> None:
        """End the connections; requests under way get EngineUnavailableError."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)

    @property
    def connected(self) -> list[str]:
        """The engines that are there, by the paths of their sockets."""
        return [engine.endpoint for engine in self._engines if engine.is_connected]

    @asynccontextmanager
    async def encoder(self, name: str | None = None) -> AsyncIterator[RemoteEncoder]:
        """See `Engine`."""
        word = name or self._settings.models.encoder
        channel = await self.find_channel("encoder", word)
        loan = channel.borrow("encoder", word)
        try:
            card = await channel.card(loan)
            if not isinstance(card, wire.EncoderCard):
                raise TypeError("the loan holds no encoder")
            yield RemoteEncoder(self, word, card, self._pool)
        finally:
            channel.give_back(loan)

    @asynccontextmanager
    async def vlm(self, name: str | None = None) -> AsyncIterator[RemoteVlm]:
        """See `Engine`."""
        word = name or self._settings.answers.vlm
        channel = await self.find_channel("vlm", word)
        loan = channel.borrow("vlm", word)
        try:
            card = await channel.card(loan)
            if not isinstance(card, wire.VlmCard):
                raise TypeError("the loan holds no vision-language model")
            yield RemoteVlm(channel, loan, card, self._pool)
        finally:
            channel.give_back(loan)

    async def find_channel(self, kind: Kind, word: str) -> Channel:
        """The connection to the engine that serves the model, waited for as long as the settings say.

        Raises EngineUnavailableError.
        """
        end = time.monotonic() + self._settings.engine.engine_wait_s
        while True:
            self._changed.clear()
            engine = choose_engine(self._engines, self._placement, kind, word)
            if engine is not None:
                engine.chosen = next(self._turns)
                return engine.channel
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                raise engine_gone() from None

    # --- what is known

    def list_models(self) -> list[ModelInfo]:
        """See `Engine`; raises EngineUnavailableError until an engine has said something."""
        if self._known is None:
            self._known = merge_models([catalog.known for catalog in self._catalogs()])
        return self._known

    def live(self) -> list[ModelInfo]:
        """See `Engine`."""
        return merge_models([[info for _, info in catalog.live] for catalog in self._catalogs()])

    def live_at(self, location: str) -> ModelInfo | None:
        """See `Engine`."""
        found = [[info for place, info in catalog.live if place == location] for catalog in self._catalogs()]
        return next(iter(merge_models(found)), None)

    def is_taken(self, name: str) -> bool:
        """See `Engine`."""
        if name == "default" or any(name in catalog.families for catalog in self._catalogs()):
            return True
        return any(name in (info.name, *info.aliases) for info in self.list_models())

    async def stats(self) -> list[ModelInfo]:
        """See `Engine`; without those of an engine that does not answer at once."""

        async def ask(engine: EngineConnection) -> list[ModelInfo]:
            async with asyncio.timeout(STATS_SECONDS):
                reply, _ = await engine.channel.call(wire.AskStats)
            return reply.live if isinstance(reply, wire.Stats) else []

        asked = [ask(engine) for engine in self._engines if engine.is_connected]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return merge_models([models for models in found if not isinstance(models, BaseException)])

    async def forget(self, location: str) -> None:
        """See `Engine`: every engine that is there forgets it, and one that is not has nothing in memory."""

        async def tell(channel: Channel) -> None:
            with suppress(EngineUnavailableError):  # its memory has gone with it
                await channel.call(lambda number: wire.Forget(number, location))

        await asyncio.gather(*[tell(engine.channel) for engine in self._engines if engine.is_connected])

    def _catalogs(self) -> list[wire.Catalog]:
        found = [engine.catalog for engine in self._engines if engine.catalog is not None]
        if not found:
            raise engine_gone()
        return found

    def _note_change(self) -> None:
        self._known = None
        self._changed.set()
