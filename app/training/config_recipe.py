"""A configuration in a strategy's place: what its document says becomes a recipe for one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidInputError
from app.jobs.errors import NotTrainableError
from app.methods import MethodName
from app.methods.tasks import Task
from app.training.bases import DEFAULT
from app.training.config import MultimodalConfig
from app.training.config_sections import Kind
from app.training.learning_data import LearningData
from app.training.resolving import Larger

NAME = "the configuration"


@dataclass(frozen=True)
class _Model:
    family: str
    checkpoint: str
    kind: Kind
    larger: tuple[Larger, ...] = ()
    base_models: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Samples:
    min: int = 2
    max: int | None = None


@dataclass(frozen=True)
class _Hardware:
    gpu_memory_gb: float | None = None


@dataclass(frozen=True)
class ConfigRecipe:
    """See `resolving.Recipe`."""

    task: Task
    method: MethodName
    params: Mapping[str, Any]
    model: _Model
    samples: _Samples = _Samples()
    hardware: _Hardware = _Hardware()
    name: str = NAME


def recipe_of(config: MultimodalConfig, data: LearningData, kind: Kind | None) -> ConfigRecipe:
    """What the configuration means for this data; `kind` is its base model's, None where the data shall decide.

    A vision-language model learns labels as answers to a question. Raises InvalidInputError where the document names
    folders of a machine, NotTrainableError where it does not say, and the data does not either, what is to be learned,
    or where that is nothing for such a model.
    """
    if config.server_paths:
        raise InvalidInputError(
            f"{', '.join(config.server_paths)}: the service reads no folders; upload them with POST /v1/datasets, "
            "or leave that to `vision train --config`."
        )
    task = config.task or _find_task(data, kind)
    if kind == "vlm" and task == "classification":
        task = "vqa"
    if kind == "encoder" and task != "classification":
        raise NotTrainableError(
            f"'{config.base_word[:100]}' learns labels, and {data.name} teaches "
            f"{'questions' if task == 'vqa' else 'captions'}: start from a vision-language model, "
            "such as llava."
        )
    kind = kind or ("encoder" if task == "classification" else "vlm")
    method = config.method_for(kind)
    params = config.params_for(method, kind)
    return ConfigRecipe(task, method, params, _Model(DEFAULT, DEFAULT, kind))


def _find_task(data: LearningData, kind: Kind | None) -> Task:
    if len(data.tasks) == 1:
        return next(iter(data.tasks))
    if data.labels and not (kind == "vlm" and data.answers):
        return "classification"
    if data.answers:
        return "vqa"
    raise NotTrainableError(f"{data.name[:1].upper()}{data.name[1:]} holds no examples.")
