"""Requests and replies of `/strategies` and `/hardware`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, computed_field

from app.http.bodies import RequestBody
from app.methods.tasks import Task
from app.strategies.definition import DEFAULT, LearningType, Strategy
from app.strategies.presets import PRESETS, Machine, MachineFacts
from app.strategies.written import CUSTOM

AUTO = "auto"


_FITS: dict[str, Any] = {
    "name": "lite_oneshot",
    "task": "classification",
    "family": "lite",
    "checkpoint": "default",
    "method": None,
    "expected_time_s": 2.5,
    "expected_examples": 50,
    "expected_time_note": "Estimated from 0.05 s for each example on 2 CPU cores.",
    "params": {},
    "larger": [],
    "larger_params": {},
    "reason": "Nothing is trained; needs no GPU and 1.5 GB of memory; the service's model 'lite' can be used.",
}


class HardwareRequirements(BaseModel):
    """The hardware that a strategy needs."""

    gpu_memory_gb: float | None
    cpu_memory_gb: float
    inference_time_ms: float | None
    training_time_hours: tuple[float, float] | None = Field(
        description="Least and most; where seconds were measured, these twice; null: not known, or nothing is trained."
    )


class StrategyInfo(Strategy):
    """A strategy, in full and, from `model_type` on, once more in the words of a file in short."""

    own: bool = Field(description="Whether it is from your own folder.")
    here: str = Field(description="Which model it would use on this service, or what it takes to have one.")
    defaults: dict[str, Any] = Field(
        description="The settings of its method that it leaves alone; a job's `params` may change any."
    )

    @computed_field(description="The model's family; `custom`: any.")
    def model_type(self) -> str:
        return CUSTOM if self.model.family == DEFAULT else self.model.family

    @computed_field(description="The model's checkpoint; null: the service's own.")
    def base_model(self) -> str | None:
        return None if self.model.checkpoint == DEFAULT else self.model.checkpoint

    @computed_field(description="What a job may name as `base_model`.")
    def base_models(self) -> list[str]:
        return self.model.base_models

    @computed_field(description="The first of `learning_types`.")
    def learning_type(self) -> LearningType:
        return self.learning_types[0]

    @computed_field(description="Fewer are refused.")
    def min_samples(self) -> int:
        return self.samples.min

    @computed_field(description="More get a warning; null: no limit.")
    def max_samples(self) -> int | None:
        return self.samples.max

    @computed_field(description="What it needs.")
    def hardware_requirements(self) -> HardwareRequirements:
        needs = self.hardware
        hours = needs.training_time_hours
        if hours is None and self.method is not None and needs.expected_time_s is not None:
            hours = (round(needs.expected_time_s / 3600, 3),) * 2
        return HardwareRequirements(
            gpu_memory_gb=needs.gpu_memory_gb,
            cpu_memory_gb=needs.cpu_memory_gb,
            inference_time_ms=needs.inference_time_ms,
            training_time_hours=hours,
        )


class RefusedFile(BaseModel):
    """A file of your own folder that is no strategy."""

    file: str
    reason: str = Field(description="Names the line and the field.")


class StrategyList(BaseModel):
    """All strategies, by name."""

    data: list[StrategyInfo]
    refused: list[RefusedFile]
    next: str | None = Field(None, description="Always null: strategies fit one page.")


def _form(value: Any) -> str:
    """A machine is named or described; errors then speak of the form that was meant."""
    return "numbers" if isinstance(value, dict | Machine) else "name"


class RecommendRequest(RequestBody):
    """What is to be learned, and on what."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"learning_type": "few_shot", "dataset_size": 50, "hardware": "auto"},
                {"task": "vqa", "hardware": {"gpu_memory_gb": 24, "cpu_memory_gb": 64}},
            ]
        },
    )

    learning_type: LearningType | None = Field(None, description="Empty: any.")
    dataset_size: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Examples, all labels together; empty: not looked at."
    )
    task: Task | None = Field(None, description="Empty: any.")
    hardware: Annotated[
        Annotated[str, Field(max_length=100), Tag("name")] | Annotated[Machine, Tag("numbers")],
        Discriminator(_form),
    ] = Field(
        AUTO,
        description=f"`{AUTO}`: the machine that answers; a machine in numbers; or one of "
        f"{', '.join(f'`{name}`' for name in PRESETS)}, in capitals or not, with hyphens or spaces as well.",
    )


class RecommendedStrategy(BaseModel):
    """A strategy that fits."""

    name: str
    task: Task
    family: str
    checkpoint: str
    method: str | None
    expected_time_s: float | None = Field(
        description="Estimated seconds until it has learned: measured CPU times, scaled with examples and hardware as "
        "docs/strategies.md says; null: not known."
    )
    expected_examples: int | None = Field(description="With how many examples that is; null: with each one.")
    expected_time_note: str = Field(description="What the estimate is made of.")
    params: dict[str, Any] = Field(
        description="Settings to give a job on this machine, as its `params`: with several GPUs processes and ZeRO "
        "stage."
    )
    larger: list[str] = Field(description="Larger checkpoints of its family that fit the machine too.")
    larger_params: dict[str, dict[str, Any]] = Field(
        description="The same settings for each of these that needs any."
    )
    reason: str


class TaskGroup(BaseModel):
    """What fits for one task, best first."""

    task: Task
    data: list[RecommendedStrategy]


class ExcludedStrategy(BaseModel):
    """A strategy that does not fit."""

    name: str
    task: Task
    reason: str


class Recommendation(BaseModel):
    """What fits, best first, and why the others do not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hardware": {"gpu_memory_gb": 0, "gpus": 0, "cpu_memory_gb": 16, "cores": 8},
                    "machine": {
                        "memory_limit": "16 GB of memory",
                        "max_model_size": "3.2b",
                        "max_trained_size": "0.8b",
                        "recommended_learning": ["one_shot", "few_shot"],
                    },
                    "data": [_FITS],
                    "groups": [{"task": "classification", "data": [_FITS]}],
                    "left_out": [
                        {
                            "name": "custom_manyshot",
                            "task": "classification",
                            "reason": "It is for many-shot learning, not for few-shot.",
                        }
                    ],
                }
            ]
        }
    )

    hardware: Machine = Field(description="What was compared with.")
    machine: MachineFacts
    data: list[RecommendedStrategy] = Field(description="Over all tasks; comparable within one.")
    groups: list[TaskGroup] = Field(
        description="The same for each task, or for the one that was asked for; empty `data` where nothing fits."
    )
    left_out: list[ExcludedStrategy]


class Cpu(BaseModel):
    """The processor."""

    name: str
    architecture: str
    cores: int = Field(description="Cores that this process may use.")
    flags: list[str] = Field(description="Those of its abilities that make models faster.")


class Memory(BaseModel):
    """The machine's memory, or the container's where that is less."""

    total_mb: int
    available_mb: int | None


class Gpu(BaseModel):
    """One CUDA device, or the GPU of an Apple silicon Mac."""

    index: int
    name: str
    memory_mb: int
    memory_available_mb: int
    compute_capability: str | None = Field(description="CUDA's; null for a Mac's GPU.")


class StrategyFit(BaseModel):
    """Whether this machine is enough for a strategy."""

    name: str
    fits: bool
    reason: str | None = Field(description="What the machine lacks; null where it fits.")


class Hardware(BaseModel):
    """What this machine has."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cpu": {
                        "name": "Intel(R) Xeon(R) Platinum",
                        "architecture": "x86_64",
                        "cores": 2,
                        "flags": ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"],
                    },
                    "memory": {"total_mb": 16384, "available_mb": 9216},
                    "gpus": [],
                    "device": "cpu",
                    "strategies": [{"name": "lite_oneshot", "fits": True, "reason": None}],
                }
            ]
        }
    )

    cpu: Cpu
    memory: Memory
    gpus: list[Gpu]
    device: str | None = Field(description="What models run on; null where the setting names none of these.")
    strategies: list[StrategyFit] = Field(
        default_factory=list, description="Which strategies this machine is enough for."
    )
