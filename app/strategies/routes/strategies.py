"""`/strategies`: list, show and recommend ways to learn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Path

from app.access import Recogniser
from app.errors import InvalidInputError
from app.http.dependencies import AppSettings
from app.http.problems import responses
from app.inference.model_info import ModelInfo
from app.methods import check_params
from app.methods.tasks import Task
from app.models.dependencies import Registry
from app.strategies import probing
from app.strategies.definition import Strategy, name_checkpoint
from app.strategies.dependencies import StrategyService
from app.strategies.describing import json_schema
from app.strategies.errors import StrategyNotFoundError
from app.strategies.here import describe_use, machine_of, make_finder
from app.strategies.presets import PRESETS, Machine, facts, find_preset
from app.strategies.recommending import Requirements, Verdict, recommend
from app.strategies.schemas import (
    AUTO,
    ExcludedStrategy,
    Recommendation,
    RecommendedStrategy,
    RecommendRequest,
    RefusedFile,
    StrategyInfo,
    StrategyList,
    TaskGroup,
)

router = APIRouter(prefix="/strategies", tags=["strategies"])


@router.get("")
async def list_strategies(
    caller: Recogniser, registry: Registry, strategies: StrategyService
) -> StrategyList:
    """List the strategies, and which files of your own were refused."""
    known = registry.list_models()
    return StrategyList(
        data=[_info(strategy, strategy.name in strategies.own, known) for strategy in strategies.all()],
        refused=[RefusedFile(file=file.file, reason=file.reason) for file in strategies.refused],
        next=None,
    )


_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Strategies of one file",
    "type": "object",
    "$defs": {
        "WrittenStrategy": {
            "type": "object",
            "properties": {"model_type": {"enum": ["clip", "llava", "custom"]}},
            "required": ["model_type"],
        }
    },
}


@router.get(
    "/schema",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SCHEMA}}}},
)
async def strategy_schema(caller: Recogniser) -> dict[str, Any]:
    """The JSON Schema of a strategy's file, for editors."""
    return json_schema()


@router.get("/{strategy}", responses=responses(StrategyNotFoundError))
async def get_strategy(
    caller: Recogniser,
    strategy: Annotated[str, Path(max_length=200, description="Its name or an alias.")],
    registry: Registry,
    strategies: StrategyService,
) -> StrategyInfo:
    """Show one strategy, by its name or an alias."""
    found = strategies.get(strategy)
    return _info(found, found.name in strategies.own, registry.list_models())


@router.post("/recommend")
async def recommend_strategies(
    caller: Recogniser,
    wanted: RecommendRequest,
    settings: AppSettings,
    registry: Registry,
    strategies: StrategyService,
) -> Recommendation:
    """Which strategies fit each task, best first, and why each of the others does not."""
    machine, ready = _machine(wanted.hardware), None
    if machine is None:
        machine = machine_of(await asyncio.to_thread(probing.hardware, settings))
        ready = make_finder(registry.list_models())
    fitting, left_out = recommend(
        strategies.all(),
        Requirements(machine, wanted.learning_type, wanted.dataset_size, wanted.task),
        ready,
    )
    data = [_to_recommended(verdict) for verdict in fitting]
    tasks: tuple[Task, ...] = (wanted.task,) if wanted.task else get_args(Task)
    return Recommendation(
        hardware=machine,
        machine=facts(machine),
        data=data,
        groups=[TaskGroup(task=task, data=[found for found in data if found.task == task]) for task in tasks],
        left_out=[
            ExcludedStrategy(name=verdict.strategy.name, task=verdict.strategy.task, reason=verdict.reason)
            for verdict in left_out
        ],
    )


def _machine(hardware: str | Machine) -> Machine | None:
    """The machine that was named or described; None for the one that answers. Raises InvalidInputError."""
    if isinstance(hardware, Machine):
        return hardware
    if hardware.strip().lower() == AUTO:
        return None
    name = find_preset(hardware)
    if name is None:
        raise InvalidInputError(
            f"hardware: there is no machine of that name; known are {AUTO}, {', '.join(PRESETS)}."
        )
    return PRESETS[name]


def _info(strategy: Strategy, own: bool, known: Sequence[ModelInfo]) -> StrategyInfo:
    settings = check_params(strategy.method, strategy.params) if strategy.method else {}
    values = strategy.model_dump()
    values["model"]["checkpoint"] = name_checkpoint(strategy.model.checkpoint)
    for larger in values["model"]["larger"]:
        larger["checkpoint"] = name_checkpoint(larger["checkpoint"])
    defaults = {name: value for name, value in settings.items() if name not in strategy.params}
    return StrategyInfo(**values, own=own, here=describe_use(strategy, known), defaults=defaults)


def _to_recommended(verdict: Verdict) -> RecommendedStrategy:
    strategy, time = verdict.strategy, verdict.time
    return RecommendedStrategy(
        name=strategy.name,
        task=strategy.task,
        family=strategy.model.family,
        checkpoint=name_checkpoint(strategy.model.checkpoint),
        method=strategy.method,
        expected_time_s=time.seconds,
        expected_examples=time.examples,
        expected_time_note=time.note,
        params=verdict.params,
        larger=[name_checkpoint(checkpoint) for checkpoint in verdict.larger],
        larger_params={
            name_checkpoint(checkpoint): settings for checkpoint, settings in verdict.larger_params.items()
        },
        reason=verdict.reason,
    )
