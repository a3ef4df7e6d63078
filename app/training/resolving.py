"""From a client's options to a job's specification: what is trained, on what, how, and where it fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from app.http.names import MODEL_NAME as MODEL_NAME
from app.inference.sources import slug
from app.jobs.errors import NotTrainableError
from app.jobs.spec import JobSpec, Queue, ResolvedJob
from app.methods import METHODS, MethodName, check_params
from app.methods.tasks import Task
from app.training.bases import BaseModels
from app.training.learning_data import LearningData
from app.training.lessons import Lesson, remarks_on_few, resolve_kind, resolve_lesson, with_question
from app.training.teachable import check_teachable

_MAX_NAME_LENGTH = 63


class Larger(Protocol):
    """A bigger checkpoint that a strategy names, and what it needs."""

    @property
    def checkpoint(self) -> str: ...
    @property
    def gpu_memory_gb(self) -> float | None: ...


class _Model(Protocol):
    @property
    def family(self) -> str: ...
    @property
    def checkpoint(self) -> str: ...
    @property
    def kind(self) -> Literal["encoder", "vlm"]: ...
    @property
    def larger(self) -> Sequence[Larger]: ...
    @property
    def base_models(self) -> Sequence[str]: ...


class _Samples(Protocol):
    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int | None: ...


class _Hardware(Protocol):
    @property
    def gpu_memory_gb(self) -> float | None: ...


class Recipe(Protocol):
    """What a job needs to know of a strategy, or of a configuration that takes a strategy's place."""

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> Task: ...
    @property
    def method(self) -> MethodName | None: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> _Model: ...
    @property
    def samples(self) -> _Samples: ...
    @property
    def hardware(self) -> _Hardware: ...


@dataclass(frozen=True)
class TrainingOptions:
    """What a client asked for beside the strategy and the data."""

    params: Mapping[str, Any] = field(default_factory=dict)
    base_model: str | None = None
    name: str | None = None
    seed: int = 0


def resolve_job(
    strategy: Recipe, data: LearningData, options: TrainingOptions, bases: BaseModels
) -> ResolvedJob:
    """What the strategy makes of the data.

    Raises NotTrainableError for what cannot be trained, InvalidInputError for wrong parameters, EncoderMismatchError
    and ModelNotFoundError for a base model that does not go with the data or is not known.
    """
    if strategy.method is None:
        raise NotTrainableError(_trains_nothing(strategy, data))
    _check_allowed_base(strategy, options.base_model, bases)
    lesson = resolve_lesson(strategy, data, bases.kind_of(options.base_model))
    params = with_question(
        lesson, check_params(strategy.method, merge_params(strategy.params, options.params))
    )
    check_teachable(lesson, strategy.method, METHODS[strategy.method].params.model_validate(params), data)
    warnings = (*_check_amount(strategy, lesson.task, data), *remarks_on_few(lesson, data))
    model = strategy.model
    if lesson.kind == "encoder":
        base = bases.encoder(options.base_model, model.checkpoint, model.family, data, strategy.name)
    else:
        base = bases.vlm(
            options.base_model, model.checkpoint, model.family, lesson.serving_task, strategy.name
        )
    warnings += bases.warnings(base, lesson.kind)
    spec = JobSpec(
        kind="train",
        task=lesson.task,
        method=strategy.method,
        base_model=base,
        base_kind=lesson.kind,
        data=data.ref,
        params=params,
        model=options.name or default_name(data.slug, strategy.name),
        seed=options.seed,
    )
    memory_gb = next(
        (variant.gpu_memory_gb for variant in model.larger if variant.checkpoint == base),
        strategy.hardware.gpu_memory_gb,
    )
    return ResolvedJob(spec, queue_of(params, memory_gb), strategy.name, warnings)


def check_options(strategy: Recipe, options: TrainingOptions, bases: BaseModels) -> None:
    """Raise what `resolve_job` raises whatever the data are, so that it is known before there are any."""
    if strategy.method is None:  # what to do instead depends on the data
        return
    _check_allowed_base(strategy, options.base_model, bases)
    kind = resolve_kind(strategy, bases.kind_of(options.base_model))
    params = check_params(strategy.method, merge_params(strategy.params, options.params))
    if kind == "encoder":
        with_question(Lesson("encoder", "classification"), params)
    if options.base_model is not None:
        task = None if strategy.task == "classification" else strategy.task
        bases.check_named_base(options.base_model, kind, strategy.model.family, strategy.name, task)


def _check_allowed_base(strategy: Recipe, asked: str | None, bases: BaseModels) -> None:
    """Raise NotTrainableError for a base model that is not among those that the strategy lists, if it lists any."""
    listed = strategy.model.base_models
    if asked is None or not listed or asked in (*listed, strategy.model.checkpoint):
        return
    if bases.names_of(asked) & {*listed, strategy.model.checkpoint}:
        return
    raise NotTrainableError(
        f"The strategy '{strategy.name}' trains {', '.join(listed)}, not '{asked[:100]}': name one of these as the "
        "base model, or take another strategy."
    )


def merge_params(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; an object within is merged, not replaced."""
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        result[name] = (
            merge_params(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def queue_of(params: Mapping[str, Any], gpu_memory_gb: float | None) -> Queue:
    """Where a job fits: several processes, one GPU, or a CPU."""
    if int(params.get("processes") or 1) * int(params.get("nodes") or 1) > 1:
        return "multi-gpu"
    return "gpu" if gpu_memory_gb else "cpu"


def default_name(source: str, strategy: str) -> str:
    """A model's name when nobody chose one, such as `mugs-lite-fewshot`."""
    ending = "-" + slug(strategy).replace("_", "-")
    name = slug(source)[: _MAX_NAME_LENGTH - len(ending)].rstrip("-.") + ending
    return name if re.fullmatch(MODEL_NAME, name) else ending.lstrip("-")[:_MAX_NAME_LENGTH]


def _check_amount(strategy: Recipe, task: Task, data: LearningData) -> tuple[str, ...]:
    """Refuse too few examples for the strategy; what to warn of where there are more than it is meant for."""
    count, least, most = data.examples(task), strategy.samples.min, strategy.samples.max
    if count < least:
        raise NotTrainableError(
            f"The strategy '{strategy.name}' needs at least {least} examples; {data.name} has {count}. "
            "For fewer there are others (GET /v1/strategies)."
        )
    if most is not None and count > most:
        return (
            f"{_capital(data.name)} has {count} examples, more than the {most} that the strategy "
            f"'{strategy.name}' is meant for: another one may use them better (GET /v1/strategies).",
        )
    return ()


def _trains_nothing(strategy: Recipe, data: LearningData) -> str:
    place = f"/v1/collections/{data.slug if data.encoder is not None else '{collection}'}"
    if strategy.task == "classification":
        return (
            f"The strategy '{strategy.name}' needs no training: teach images with POST {place}/examples, and "
            "POST /v1/classify knows them at once."
        )
    return (
        f"The strategy '{strategy.name}' needs no training: add answers with POST {place}/answers, and POST /v1/vqa "
        "shows them to the model."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
