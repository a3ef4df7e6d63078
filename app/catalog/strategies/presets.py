"""Machines by name, so that nobody has to look up their figures.

Knows what makers publish: memory of a GPU from its data sheet, host memory as such machines are commonly sold. Knows
nothing of strategies.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Gigabytes = Annotated[float, Field(ge=0, le=1_000_000)]


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


# Apple's GPUs do not run CUDA: a Mac counts as a CPU with all of its unified memory.
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
