"""The default encoder: loaded before anybody asks for it, and again after a load that failed."""

from __future__ import annotations

import asyncio
import time

import structlog

from app.inference.engine.interface import Engine

LOOK_SECONDS = 0.5

log = structlog.get_logger("app")


async def load_default(engine: Engine) -> None:
    """Load the default encoder; raises what loading raises."""
    async with engine.encoder() as live:
        log.info("default model is live", model=live.key, runtime=live.runtime)


async def wait_for_default(engine: Engine, retry_s: float) -> None:
    """After a load that failed: return when the default encoder is live, whoever has loaded it.

    It is tried every `retry_s` seconds; with 0 only requests load it.
    """
    tried = time.monotonic()
    while not any(info.default and info.kind == "encoder" for info in engine.live()):
        await asyncio.sleep(LOOK_SECONDS)
        if retry_s and time.monotonic() - tried >= retry_s:
            try:
                await load_default(engine)
            except Exception as error:  # whatever it is, a later try may succeed
                log.info(
                    "the default model could not be loaded again", reason=str(error) or type(error).__name__
                )
            tried = time.monotonic()
