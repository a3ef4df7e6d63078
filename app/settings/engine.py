"""How front ends reach the processes that run models."""

from __future__ import annotations

from pydantic import Field

from app.settings.group import SettingsGroup


class EngineSettings(SettingsGroup):
    """Front ends and engines, where models run in processes of their own."""

    engine_arena_mb: int = Field(
        64,
        ge=1,
        description="Shared memory, in MiB, through which one front end hands pixels to one engine; what does not fit at the moment goes through the socket. Only what is used takes memory.",
    )
    engine_inline_mb: int = Field(
        512,
        ge=1,
        description="MiB of pixels that one front end may have under way through the socket to one engine, and the largest request that it carries.",
    )
    engine_max_requests: int = Field(
        4_096,
        ge=1,
        description="Images, lists of texts and questions that one front end may have under way at one engine; beyond that requests get 503.",
    )
    engine_wait_s: float = Field(
        5.0,
        ge=0,
        description="Seconds a request waits for an engine that is being started; then it gets 503.",
    )
