"""An engine as one front end sees it: connected, or about to be again."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from app.inference.engine import messages as wire
from app.inference.engine.channel import Channel, engine_gone, open_channel
from app.settings import Settings

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


class EngineObserver(Protocol):
    """Told how the connections of a front end are; must be quick."""

    def engine_connected(self, endpoint: str) -> None:
        """Requests go there from now on."""

    def engine_lost(self, endpoint: str, requests: int) -> None:
        """The connection has ended, and so many requests with it."""


class EngineConnection:
    """Connects again, with growing pauses, whenever the connection ends."""

    def __init__(
        self,
        endpoint: str,
        token: str,
        settings: Settings,
        *,
        on_change: Callable[[], None],
        observer: EngineObserver | None,
    ) -> None:
        """`on_change` is called when the connection or what is known of the engine's models changed."""
        self.endpoint = endpoint
        self.chosen = 0
        self.catalog: wire.Catalog | None = None
        """What the engine said last, also when it is away."""
        self._token = token
        self._settings = settings
        self._on_change = on_change
        self._observer = observer
        self._channel: Channel | None = None
        self._ended = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent."""
        return self._channel is not None

    @property
    def channel(self) -> Channel:
        """The connection of now; raises EngineUnavailableError."""
        if self._channel is None:
            raise engine_gone()
        return self._channel

    @property
    def outstanding(self) -> int:
        """Requests that it has not answered."""
        return 0 if self._channel is None else self._channel.outstanding

    async def keep(self) -> None:
        """Stay connected until cancelled; then end the connection."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._connect()
                except Exception as error:  # whatever it is, the next try may succeed
                    log.debug("no engine at %s: %s", self.endpoint, error or type(error).__name__)
                else:
                    await self._ended.wait()
                if time.monotonic() - began > MAX_PAUSE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all come at once
                pause = min(MAX_PAUSE_SECONDS, 2 * pause)
        finally:
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.link.abort()
                await self._ended.wait()

    async def _connect(self) -> None:
        self._ended.clear()
        channel = await open_channel(
            self.endpoint,
            self._token,
            self._settings,
            f"process {os.getpid()}",
            on_catalog=self._learn,
            on_lost=self._lose,
        )
        if not channel.is_open:
            raise engine_gone()
        self._channel = channel
        log.info("connected to the engine %s", Path(self.endpoint).name)
        if self._observer is not None:
            self._observer.engine_connected(self.endpoint)
        self._on_change()

    def _learn(self, catalog: wire.Catalog) -> None:
        self.catalog = catalog
        self._on_change()

    def _lose(self, channel: Channel) -> None:
        if self._channel is channel:
            self._channel = None
            log.warning(
                "the engine %s is gone, and %d requests with it",
                Path(self.endpoint).name,
                channel.lost_requests,
            )
            if self._observer is not None:
                self._observer.engine_lost(self.endpoint, channel.lost_requests)
            self._on_change()
        self._ended.set()
