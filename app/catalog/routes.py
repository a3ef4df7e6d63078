"""`/models` and `/hardware`.

Knows who may look; knows nothing of how things are found out.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from app import errors
from app.access import Caller, require
from app.catalog import service
from app.catalog.schemas import Hardware, Model, ModelList
from app.catalog.strategies.here import fits
from app.problems import responses
from app.services import services_of

router = APIRouter(tags=["models"])

Recogniser = Annotated[Caller, Depends(require("recognise"))]


@router.get("/models")
async def list_models(request: Request, caller: Recogniser) -> ModelList:
    """List the models, the default first."""
    return ModelList(data=service.models(services_of(request).registry))


@router.get("/models/{model}", responses=responses(errors.ModelNotFoundError))
async def get_model(
    request: Request, caller: Recogniser, model: Annotated[str, Path(max_length=200)]
) -> Model:
    """Show one model."""
    return service.model(services_of(request).registry, model)


@router.get("/hardware")
async def get_hardware(request: Request, caller: Recogniser) -> Hardware:
    """Show what this machine has, and which strategies it is enough for."""
    services = services_of(request)
    hardware = await asyncio.to_thread(service.hardware, services.settings)
    fitting = fits(services.strategies.all(), hardware, services.registry.known())
    return hardware.model_copy(update={"strategies": fitting})
