"""`/hardware`: what this machine has."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from app.access import Recogniser
from app.http.dependencies import AppSettings
from app.models.dependencies import Registry
from app.strategies import probing
from app.strategies.dependencies import StrategyService
from app.strategies.here import fits
from app.strategies.schemas import Hardware

router = APIRouter(tags=["models"])


@router.get("/hardware")
async def get_hardware(
    caller: Recogniser, settings: AppSettings, registry: Registry, strategies: StrategyService
) -> Hardware:
    """Show what this machine has, and which strategies it is enough for."""
    hardware = await asyncio.to_thread(probing.hardware, settings)
    fitting = fits(strategies.all(), hardware, registry.list_models())
    return hardware.model_copy(update={"strategies": fitting})
