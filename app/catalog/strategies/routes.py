"""`/strategies`: list, show and recommend ways to learn.

Knows who may look; what fits is decided in `recommending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from app import errors
from app.access import Caller, require
from app.catalog import service
from app.catalog.strategies.here import machine_of, ready_with, use_here
from app.catalog.strategies.presets import PRESETS, Machine
from app.catalog.strategies.recommending import Verdict, Wanted, recommend
from app.catalog.strategies.replies import (
    AUTO,
    LeftOut,
    Recommendation,
    Recommended,
    RecommendRequest,
    RefusedFile,
    StrategyInfo,
    StrategyList,
)
from app.catalog.strategies.schema import Strategy, json_schema, shown
from app.errors import InvalidInputError
from app.inference.model_info import ModelInfo
from app.problems import responses
from app.services import services_of
from app.training.params import checked

router = APIRouter(prefix="/strategies", tags=["strategies"])

Recogniser = Annotated[Caller, Depends(require("recognise"))]


@router.get("")
async def list_strategies(request: Request, caller: Recogniser) -> StrategyList:
    """List the strategies, and which files of your own were refused."""
    strategies = services_of(request).strategies
    known = services_of(request).registry.known()
    return StrategyList(
        data=[_info(one, one.name in strategies.own, known) for one in strategies.all()],
        refused=[RefusedFile(file=one.file, reason=one.reason) for one in strategies.refused],
        next=None,
    )


_SCHEMA = {
    "title": "Strategy",
    "type": "object",
    "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
    "required": ["name", "description"],
}


@router.get(
    "/schema",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SCHEMA}}}},
)
async def strategy_schema(caller: Recogniser) -> dict[str, Any]:
    """The JSON Schema of a strategy's file, for editors."""
    return json_schema()


@router.get("/{strategy}", responses=responses(errors.StrategyNotFoundError))
async def get_strategy(
    request: Request,
    caller: Recogniser,
    strategy: Annotated[str, Path(max_length=200, description="Its name or an alias.")],
) -> StrategyInfo:
    """Show one strategy, by its name or an alias."""
    strategies = services_of(request).strategies
    found = strategies.get(strategy)
    return _info(found, found.name in strategies.own, services_of(request).registry.known())


@router.post("/recommend")
async def recommend_strategies(
    request: Request, caller: Recogniser, wanted: RecommendRequest
) -> Recommendation:
    """Which strategies fit, best first, and why each of the others does not."""
    services = services_of(request)
    machine, ready = _preset(wanted.hardware), None
    if machine is None:
        machine = machine_of(await asyncio.to_thread(service.hardware, services.settings))
        ready = ready_with(services.registry.known())
    fitting, left_out = recommend(
        services.strategies.all(),
        Wanted(machine, wanted.learning_type, wanted.dataset_size, wanted.task),
        ready,
    )
    return Recommendation(
        hardware=machine,
        data=[_recommended(one) for one in fitting],
        left_out=[LeftOut(name=one.strategy.name, reason=one.reason) for one in left_out],
    )


def _preset(hardware: str | Machine) -> Machine | None:
    """The machine that was named or described; None for the one that answers. Raises InvalidInputError."""
    if isinstance(hardware, Machine):
        return hardware
    word = hardware.strip().lower()
    if word == AUTO:
        return None
    if word not in PRESETS:
        raise InvalidInputError(
            f"hardware: there is no machine of that name; known are {AUTO}, {', '.join(PRESETS)}."
        )
    return PRESETS[word]


def _info(strategy: Strategy, own: bool, known: Sequence[ModelInfo]) -> StrategyInfo:
    settings = checked(strategy.method, strategy.params) if strategy.method else {}
    values = strategy.model_dump()
    values["model"]["checkpoint"] = shown(strategy.model.checkpoint)
    for larger in values["model"]["larger"]:
        larger["checkpoint"] = shown(larger["checkpoint"])
    defaults = {name: value for name, value in settings.items() if name not in strategy.params}
    return StrategyInfo(**values, own=own, here=use_here(strategy, known), defaults=defaults)


def _recommended(verdict: Verdict) -> Recommended:
    strategy = verdict.strategy
    return Recommended(
        name=strategy.name,
        task=strategy.task,
        family=strategy.model.family,
        checkpoint=shown(strategy.model.checkpoint),
        method=strategy.method,
        expected_time_s=strategy.hardware.expected_time_s,
        expected_examples=strategy.hardware.expected_examples,
        larger=[shown(one) for one in verdict.larger],
        reason=verdict.reason,
    )
