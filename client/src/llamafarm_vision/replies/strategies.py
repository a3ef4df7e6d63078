"""Replies about ways to learn and the service's hardware."""

from __future__ import annotations

from typing import Any

from llamafarm_vision.replies.base import ReplyModel


class LargerCheckpoint(ReplyModel):
    """A larger checkpoint of a strategy's family, and what it needs."""

    checkpoint: str
    gpu_memory_gb: float | None = None
    cpu_memory_gb: float


class StrategyModel(ReplyModel):
    """The model that a strategy uses."""

    family: str
    checkpoint: str = "default"
    kind: str
    larger: list[LargerCheckpoint] = []
    base_models: list[str] = []


class Samples(ReplyModel):
    """How many examples a strategy is for."""

    min: int = 1
    best: int
    max: int | None = None


class StrategyHardware(ReplyModel):
    """What a strategy needs, and how long it takes."""

    gpu_memory_gb: float | None = None
    cpu_memory_gb: float
    cpu_cores: int = 1
    expected_time_s: float | None = None
    expected_examples: int | None = None
    expected_fixed_s: float = 0.0
    expected_cores: int = 1
    useful_cores: int = 1
    training_time_hours: tuple[float, float] | None = None
    inference_time_ms: float | None = None
    note: str | None = None


class HardwareRequirements(ReplyModel):
    """The same in short."""

    gpu_memory_gb: float | None
    cpu_memory_gb: float
    inference_time_ms: float | None
    training_time_hours: tuple[float, float] | None


class CheaperWay(ReplyModel):
    """Up to how many examples something cheaper is as good."""

    up_to_examples: int
    says: str


class Strategy(ReplyModel):
    """A way to learn."""

    name: str
    aliases: list[str] = []
    description: str
    learning_types: list[str]
    task: str
    model: StrategyModel
    method: str | None = None
    """None: nothing is trained, examples are learned at once."""
    params: dict[str, Any] = {}
    samples: Samples
    hardware: StrategyHardware
    strengths: list[str]
    use_cases: list[str]
    as_good_as_training: CheaperWay | None = None
    own: bool
    """Whether it is from the service's own folder."""
    here: str
    """Which model it would use on this service, or what it takes to have one."""
    defaults: dict[str, Any]
    model_type: str
    base_model: str | None
    base_models: list[str]
    learning_type: str
    min_samples: int
    max_samples: int | None
    hardware_requirements: HardwareRequirements


class Machine(ReplyModel):
    """A machine in numbers."""

    gpu_memory_gb: float = 0.0
    gpus: int = 0
    cpu_memory_gb: float | None = None
    cores: int | None = None


class MachineFacts(ReplyModel):
    """What a machine is enough for."""

    memory_limit: str | None
    max_model_size: str | None
    max_trained_size: str | None
    recommended_learning: list[str]


class RecommendedStrategy(ReplyModel):
    """A strategy that fits."""

    name: str
    task: str
    family: str
    checkpoint: str
    method: str | None
    expected_time_s: float | None
    """Estimated seconds until it has learned; None: not known."""
    expected_examples: int | None
    expected_time_note: str
    params: dict[str, Any]
    """Settings to give a job on this machine."""
    larger: list[str]
    larger_params: dict[str, dict[str, Any]]
    reason: str


class TaskGroup(ReplyModel):
    """What fits for one task, best first."""

    task: str
    data: list[RecommendedStrategy]


class ExcludedStrategy(ReplyModel):
    """A strategy that does not fit."""

    name: str
    task: str
    reason: str


class Recommendation(ReplyModel):
    """What fits, best first, and why the others do not."""

    hardware: Machine
    machine: MachineFacts
    data: list[RecommendedStrategy]
    groups: list[TaskGroup]
    left_out: list[ExcludedStrategy]


class Cpu(ReplyModel):
    """The processor."""

    name: str
    architecture: str
    cores: int
    flags: list[str]


class Memory(ReplyModel):
    """The machine's memory, or the container's where that is less."""

    total_mb: int
    available_mb: int | None


class Gpu(ReplyModel):
    """One CUDA device, or the GPU of an Apple silicon Mac."""

    index: int
    name: str
    memory_mb: int
    memory_available_mb: int
    compute_capability: str | None


class StrategyFit(ReplyModel):
    """Whether the machine is enough for a strategy."""

    name: str
    fits: bool
    reason: str | None


class Hardware(ReplyModel):
    """What the service's machine has."""

    cpu: Cpu
    memory: Memory
    gpus: list[Gpu]
    device: str | None
    strategies: list[StrategyFit] = []
