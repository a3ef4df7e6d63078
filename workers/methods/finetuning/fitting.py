"""How many examples fit a forward and backward pass: measured on the device at hand, not guessed.

Knows one training step and the memory it takes; knows nothing of what is trained.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch

from app.errors import NotTrainableError
from app.inference import device as devices
from app.inference.memory import is_out_of_memory
from app.settings import Settings
from app.training.params import FinetuneParams
from workers.methods.finetuning.arguments import Batches, world_size

LARGEST = 64
TARGET = 32
"""Examples an optimiser step aims for where the parameters leave both sizes open."""
SHARE = 0.8
"""Of the memory at hand: the rest is for what a dry run does not see, such as a longer text."""
_MIB = 1 << 20

Step = Callable[[int], None]
"""Runs a forward and a backward pass over so many examples and drops the gradients."""


def fitting_batches(
    params: FinetuneParams, step: Step, *, device: torch.device, budget_bytes: int, state_bytes: int
) -> Batches:
    """The batch size and accumulation to train with.

    A given size is tried once. With `auto`, sizes from 64 (or what an optimiser step takes, if less) are
    halved until one passes: on CUDA until none runs out of memory, on CPU until the process grows by no more
    than fits. `state_bytes` (gradients and optimiser state) is set aside first. Raises NotTrainableError,
    saying what would fit, where not even one example does.
    """
    room = int(budget_bytes * SHARE) - state_bytes
    if room <= 0:
        raise NotTrainableError(
            f"Training needs {state_bytes // _MIB} MiB for gradients and optimiser state alone; there are "
            f"{budget_bytes // _MIB} MiB. LoRA (params.lora), ZeRO with offload_optimizer, or a smaller model "
            "would fit."
        )
    wanted = params.batch_size
    size = wanted if isinstance(wanted, int) else min(LARGEST, TARGET)
    while True:
        peak = _peak(step, size, device, room)
        if peak is not None and peak <= room:
            break
        if isinstance(wanted, int):
            raise NotTrainableError(
                f"A batch of {wanted} does not fit into {room // _MIB} MiB: set batch_size to auto, or less."
            )
        if size == 1:
            raise NotTrainableError(
                f"Not even one example fits into {room // _MIB} MiB: gradient_checkpointing, LoRA (params.lora) "
                "or a smaller model would."
            )
        size //= 2
    open_ = not isinstance(wanted, int)  # a size that was asked for is a whole step unless more is asked for
    accumulation = params.accumulation or (max(round(TARGET / (size * world_size())), 1) if open_ else 1)
    how = "the largest that fitted a dry run" if open_ else "as asked"
    return Batches(
        size,
        accumulation,
        f"batches of {size} ({how}: {peak // _MIB} of {room // _MIB} MiB), {accumulation} to an optimiser step",
    )


def state_bytes(module: torch.nn.Module) -> int:
    """Gradients and AdamW's two moments, in float32, of what is trained (Rajbhandari et al. 2020, section 3.1)."""
    return sum(12 * one.numel() for one in module.parameters() if one.requires_grad)


def available_bytes(settings: Settings, device: torch.device) -> int:
    """What training may take: `job_memory_mb`, or what is free on the device now."""
    if settings.job_memory_mb:
        return settings.job_memory_mb * _MIB
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return devices.host_memory_bytes() // 2
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return min(free, devices.host_memory_bytes()) // world_size()


def _peak(step: Step, size: int, device: torch.device, room: int) -> int | None:
    """Bytes that the step took at its peak; None where memory ran out."""
    failed = False
    before = _reset(device)
    try:
        step(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    # outside the except block: the traceback holds the tensors that did not fit
    gc.collect()
    return None if failed else max(_high_water(device) - before, 0)


def _reset(device: torch.device) -> int:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: starts the peak anew
    except OSError:
        return 0
    return _status("VmRSS")


def _high_water(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _status("VmHWM")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
