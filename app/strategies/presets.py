"""Machines by name, so that nobody has to look up their figures, and what a machine's figures mean for models.

Memory of a GPU is from its data sheet, host memory as such machines are commonly sold.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.strategies.definition import Gigabytes, LearningType

_USABLE_SHARE = 0.8
"""Of memory; the rest is for activations and everything else."""
_ANSWERING_BYTES = {"gpu": 2, "cpu": 4}
"""A parameter's, with 16-bit weights on a GPU and 32-bit ones on a CPU."""
_TRAINING_BYTES = 16
"""A parameter's, with gradients and AdamW's state (Rajbhandari et al. 2020)."""
MANY_SHOT_GPU_GB = 24
"""Of one GPU, from which on many-shot training of vision-language models of 7 to 13 billion parameters is tried."""


class Machine(BaseModel):
    """A machine in numbers, as far as they decide what fits it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"gpu_memory_gb": 24, "gpus": 1, "cpu_memory_gb": 64, "cores": 16}]},
    )

    gpu_memory_gb: Gigabytes = Field(0, description="Memory of each CUDA GPU; 0 without one.")
    gpus: int = Field(0, ge=0, le=1024, description="How many; 1 where only their memory is given.")
    cpu_memory_gb: Gigabytes | None = Field(
        None, description="Memory of the machine or container; null: it is not looked at."
    )
    cores: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        None, description="CPU cores; null: they are not looked at."
    )

    @model_validator(mode="after")
    def _gpus_have_memory(self) -> Self:
        if self.gpus and not self.gpu_memory_gb:
            raise ValueError("gpu_memory_gb: say how much memory each GPU has")
        return self

    @property
    def usable_gpus(self) -> int:
        """GPUs with memory."""
        return max(self.gpus, 1) if self.gpu_memory_gb else 0


def _gpu(memory_gb: float, count: int = 1, *, host_gb: float, cores: int) -> Machine:
    return Machine(gpu_memory_gb=memory_gb, gpus=count, cpu_memory_gb=host_gb, cores=cores)


# A Mac counts as a CPU with all of its unified memory: its GPU (`mps`) is used where it is named only, and no model was
# run on it yet.
PRESETS: dict[str, Machine] = {
    "raspberry_pi_5": Machine(cpu_memory_gb=8, cores=4),
    "laptop_cpu": Machine(cpu_memory_gb=16, cores=8),
    "mac_m2": Machine(cpu_memory_gb=16, cores=8),
    "mac_m3_max": Machine(cpu_memory_gb=36, cores=14),
    "rtx_3060": _gpu(12, host_gb=32, cores=8),
    "rtx_4090": _gpu(24, host_gb=64, cores=16),
    "t4": _gpu(16, host_gb=16, cores=4),
    "l4": _gpu(24, host_gb=32, cores=8),
    "a10g": _gpu(24, host_gb=32, cores=8),
    "a100_40gb": _gpu(40, host_gb=85, cores=12),
    "a100_80gb": _gpu(80, host_gb=170, cores=12),
    "h100_80gb": _gpu(80, host_gb=200, cores=26),
    "4x_a100_40gb": _gpu(40, 4, host_gb=340, cores=48),
    "8x_a100_80gb": _gpu(80, 8, host_gb=1360, cores=96),
    "8x_h100_80gb": _gpu(80, 8, host_gb=1800, cores=208),
}


def find_preset(word: str) -> str | None:
    """The name in PRESETS that is meant, however it is written: `4x A100-40GB` is `4x_a100_40gb`; None: none is."""
    name = re.sub(r"[\s_-]+", "_", word.strip().lower())
    return name if name in PRESETS else None


class MachineFacts(BaseModel):
    """What a machine's figures mean for models. Computed from its memory; nothing was measured on it."""

    memory_limit: str | None = Field(
        description="In words: `16 GB of memory`, `4 GPUs of 40 GB`; null: not known."
    )
    max_model_size: str | None = Field(
        description="Largest model that answers on one device, such as `32b` parameters: four fifths of the memory, "
        "at 2 bytes a parameter on a GPU and 4 on a CPU."
    )
    max_trained_size: str | None = Field(
        description="Largest model that is trained whole: four fifths of the memory, of all GPUs together (ZeRO-3), "
        "at 16 bytes a parameter. Adapters train larger ones."
    )
    recommended_learning: list[LearningType] = Field(
        description=f"many_shot where a GPU has {MANY_SHOT_GPU_GB} GB or there are several."
    )


def facts(machine: Machine) -> MachineFacts:
    """What can be said of a machine without trying it."""
    gpus = machine.usable_gpus
    device_gb = machine.gpu_memory_gb if gpus else machine.cpu_memory_gb
    if gpus:
        limit: str | None = f"{gpus} GPU{'s' if gpus > 1 else ''} of {device_gb:g} GB"
    else:
        limit = None if device_gb is None else f"{device_gb:g} GB of memory"
    learning: list[LearningType] = ["one_shot", "few_shot"]
    if gpus > 1 or machine.gpu_memory_gb >= MANY_SHOT_GPU_GB:
        learning.append("many_shot")
    return MachineFacts(
        memory_limit=limit,
        max_model_size=_size(device_gb, _ANSWERING_BYTES["gpu" if gpus else "cpu"]),
        max_trained_size=_size(None if device_gb is None else device_gb * max(gpus, 1), _TRAINING_BYTES),
        recommended_learning=learning,
    )


def _size(memory_gb: float | None, bytes_each: int) -> str | None:
    """Billions of parameters in two digits: `32b`, `6.4b`."""
    return None if memory_gb is None else f"{float(f'{memory_gb * _USABLE_SHARE / bytes_each:.2g}'):g}b"
