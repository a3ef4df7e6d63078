"""Over how many GPUs a strategy trains, and what of its state each of them holds."""

from __future__ import annotations

from typing import Any

from app.methods import METHODS
from app.strategies.definition import Strategy
from app.strategies.presets import Machine


def spread(
    strategy: Strategy, gpu_memory_gb: float | None, cpu_memory_gb: float, machine: Machine
) -> dict[str, Any] | None:
    """Settings with which the strategy uses all GPUs of the machine, for a model that needs this memory.

    One process a GPU. zero2 where the model fits one GPU; zero3, which divides it among them, where it does not and
    memory holds the whole base once for each process, as loading takes it; zero3 with optimizer and parameters in
    memory where even a part does not fit. `{}`: one process is all there is to say. None: these GPUs do not do.
    """
    gpus = machine.usable_gpus
    takes = METHODS[strategy.method].params.model_fields if strategy.method else {}
    if not takes.keys() >= {"processes", "deepspeed"} or gpus < 2 or "processes" in strategy.params:
        return {}
    needed = gpu_memory_gb or 0.0
    settings: dict[str, Any] = {"processes": gpus}
    host_gb = machine.cpu_memory_gb
    if needed <= machine.gpu_memory_gb:
        settings["deepspeed"] = "zero2"
    elif host_gb is not None and host_gb < cpu_memory_gb * gpus:
        return None
    elif needed <= machine.gpu_memory_gb * gpus:
        settings["deepspeed"] = "zero3"
    elif host_gb is not None and host_gb >= needed + cpu_memory_gb * gpus:
        settings |= {"deepspeed": "zero3", "offload_optimizer": True, "offload_parameters": True}
    else:
        return None
    return settings
