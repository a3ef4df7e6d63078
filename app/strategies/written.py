"""Strategies in short: `model_type`, `learning_type`, `hardware_requirements` for the fields of a whole strategy."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.families import FAMILIES
from app.methods import METHODS, MethodName
from app.methods.tasks import BaseKind, Task
from app.strategies.definition import (
    DEFAULT,
    LEARNING_WORDS,
    Gigabytes,
    LearningType,
    Name,
    Sentence,
    StrictModel,
    Word,
)

CUSTOM = "custom"
WORDS = frozenset(
    {
        "model_type",
        "base_model",
        "base_models",
        "learning_type",
        "hardware_requirements",
        "min_samples",
        "max_samples",
    }
)
"""Whoever uses one of these writes in short."""

DEFAULT_MEMORY_GB = 8
# a learning type's min, best and max where min_samples and max_samples are left out; None: no limit
_DEFAULT_SAMPLES: dict[LearningType, tuple[int, int, int | None]] = {
    "one_shot": (1, 5, 2_000),
    "few_shot": (2, 20, 5_000),
    "many_shot": (50, 1_000, None),
}
_DEFAULT_METHODS: dict[LearningType, MethodName | None] = {
    "one_shot": None,
    "few_shot": "lora",
    "many_shot": "finetune",
}
_TRAINS_NOTHING = "Nothing is trained: examples count as soon as they are added."
_USE_CASES: dict[Task, str] = {
    "classification": "Sort images by labels.",
    "vqa": "Answer questions about images.",
    "caption": "Describe images.",
}
_RANGE = r"^\s*\d+(\.\d+)?\s*-\s*\d+(\.\d+)?\s*$"


def list_model_types() -> list[str]:
    """What `model_type` may be: every family that runs here, encoders first, then `custom`."""
    families = (*FAMILIES.of_kind("encoder"), *FAMILIES.of_kind("vlm"))
    return [*(family.name for family in families if not family.connects), CUSTOM]


def _check_model_type(word: str) -> str:
    if word not in (known := list_model_types()):
        expected = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise PydanticCustomError("literal_error", "it must be {expected}", {"expected": expected})
    return word


class WrittenHardware(StrictModel):
    """What it needs, as its author says."""

    gpu_memory_gb: Gigabytes | None = Field(
        None, description="Memory of each CUDA GPU; left out: a CPU will do."
    )
    cpu_memory_gb: Gigabytes = Field(DEFAULT_MEMORY_GB, description="Memory of the machine.")
    inference_time_ms: float | None = Field(None, ge=0, le=1e9, description="For one image; shown as it is.")
    training_time_hours: (
        Annotated[float, Field(ge=0, le=1e6)] | Annotated[str, StringConstraints(pattern=_RANGE)] | None
    ) = Field(None, description="Hours, or least and most of them as `4-48`; shown as it is.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.hours is not None and self.hours[0] > self.hours[1]:
            raise ValueError("training_time_hours must rise")
        return self

    @property
    def hours(self) -> tuple[float, float] | None:
        """Least and most hours of training."""
        given = self.training_time_hours
        if given is None:
            return None
        if isinstance(given, str):
            least, most = (float(part) for part in re.findall(r"[\d.]+", given))
            return least, most
        return given, given


class WrittenStrategy(StrictModel):
    """A strategy in its short form."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["learning_type"]}, {"required": ["learning_types"]}]}
    )

    name: Name | None = Field(None, description="Left out: its key, or the file's name without `.yaml`.")
    aliases: list[Name] = Field(default_factory=list)
    description: Sentence | None = Field(None, description="Left out: said by model type and learning types.")
    model_type: Annotated[str, AfterValidator(_check_model_type)] = Field(
        description="A family, such as `clip`, which classifies, or `llava`, which answers questions; `custom`: any.",
        json_schema_extra=lambda schema: schema.update(enum=[*list_model_types()]),
    )
    base_model: Word | None = Field(
        None, description="A checkpoint; left out: the service's own of that family."
    )
    base_models: list[Word] = Field(default_factory=list, description="What a job may name as `base_model`.")
    learning_type: LearningType | None = None
    learning_types: list[LearningType] | None = Field(
        None, min_length=1, description="In its place: several."
    )
    task: Task | None = Field(
        None, description="Left out: vqa for families that answer questions, else classification."
    )
    method: MethodName | None = Field(
        None,
        description="Left out: nothing is trained where one_shot is among the learning types or the model is "
        "flamingo; else lora where few_shot is; else finetune.",
    )
    params: dict[str, Any] = Field(default_factory=dict)
    min_samples: int | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="Left out: 1, 2 or 50 for one, few or many shots, the least of its learning types.",
    )
    max_samples: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Left out: 2,000, 5,000 or no limit, the most of its learning types.",
    )
    hardware_requirements: WrittenHardware | None = Field(
        None, description="Left out: 8 GB of memory, no GPU."
    )
    hardware: WrittenHardware | None = Field(None, description="The same by another name.")
    strengths: list[Sentence] = Field(default_factory=list)
    use_cases: list[Sentence] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        if (self.learning_type is None) == (self.learning_types is None):
            raise ValueError("give either learning_type or learning_types")
        if self.hardware is not None and self.hardware_requirements is not None:
            raise ValueError("give either hardware_requirements or hardware")
        if self.max_samples is not None and self.max_samples < (self.min_samples or 0):
            raise ValueError("min_samples and max_samples must rise")
        return self

    def in_full(self, name: str) -> dict[str, Any]:
        """The fields of a Strategy that this means; what is left out is as the fields' descriptions say."""
        learning_types = self.learning_types or [self.learning_type or "few_shot"]
        family = FAMILIES.find(self.model_type)
        vlm = (family is not None and family.kind == "vlm") or self.task in ("vqa", "caption")
        kind: BaseKind = "vlm" if vlm else "encoder"
        task: Task = self.task or ("vqa" if vlm else "classification")
        method = self.method or self._default_method(learning_types)
        hardware = self.hardware_requirements or self.hardware or WrittenHardware.model_validate({})
        learns = " and ".join(LEARNING_WORDS[learning_type] for learning_type in learning_types)
        return {
            "name": name,
            "aliases": self.aliases,
            "description": self.description
            or f"A model of the type {self.model_type} for {task}, by {learns} learning.",
            "learning_types": learning_types,
            "task": task,
            "model": {
                "family": DEFAULT if self.model_type == CUSTOM else self.model_type,
                "checkpoint": self.base_model or DEFAULT,
                "kind": kind,
                "base_models": self.base_models,
            },
            "method": method,
            "params": self.params,
            "samples": self._samples(learning_types),
            "hardware": {
                "gpu_memory_gb": hardware.gpu_memory_gb or None,
                "cpu_memory_gb": hardware.cpu_memory_gb,
                "inference_time_ms": hardware.inference_time_ms,
                "training_time_hours": hardware.hours,
                "note": "As its file says; nothing was measured.",
            },
            "strengths": self.strengths or [_strength(method)],
            "use_cases": self.use_cases or [_USE_CASES[task]],
        }

    def _default_method(self, learning_types: list[LearningType]) -> MethodName | None:
        family = FAMILIES.find(self.model_type)
        if family is not None and family.learns_in_context and "few_shot" in learning_types:
            return None
        return next(
            method for learning_type, method in _DEFAULT_METHODS.items() if learning_type in learning_types
        )

    def _samples(self, learning_types: list[LearningType]) -> dict[str, int | None]:
        usual = [_DEFAULT_SAMPLES[learning_type] for learning_type in learning_types]
        limits = [most for _, _, most in usual]
        most = self.max_samples or (
            None if None in limits else max(limit for limit in limits if limit is not None)
        )
        least = min(least for least, _, _ in usual) if self.min_samples is None else max(self.min_samples, 1)
        if self.min_samples is None and most is not None:
            least = min(least, most)
        if self.max_samples is None and most is not None and most < least:
            most = None
        best = max(usual[0][1], least)
        return {"min": least, "best": best if most is None else min(best, most), "max": most}


def _strength(method: MethodName | None) -> str:
    if method is None:
        return _TRAINS_NOTHING
    return METHODS[method].strength or f"Trains with the method {method}."
