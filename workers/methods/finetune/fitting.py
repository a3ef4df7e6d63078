"""How many examples fit a forward and backward pass: measured on the device at hand, not guessed."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from app.inference import device as devices
from app.inference.memory import is_out_of_memory
from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams
from app.settings import Settings
from workers.methods.finetune.arguments import Batches, world_size

TARGET = 32
"""Examples an optimiser step aims for where the parameters leave both sizes open."""
SHARE = 0.8
"""Of the memory at hand: the rest is for what a dry run does not see, such as a longer text."""
_MIB = 1 << 20
_SLACK_BYTES = 64 * _MIB
"""What threads and libraries set aside beside the tensors, and do not fill."""

Step = Callable[[int], None]
"""Runs a forward and a backward pass over so many examples and drops the gradients."""


def fitting_batches(
    params: FinetuneParams, step: Step, *, device: torch.device, budget_bytes: int, state_bytes: int
) -> Batches:
    """The batch size and accumulation to train with.

    A given size is tried once. With `auto`, 32 is halved until a size passes: until memory does not run out (on the
    CPU, what there is room for). `state_bytes` (gradients and optimiser state) is set aside first. Raises
    NotTrainableError, saying what would fit, where not even one example does.
    """
    room = int(budget_bytes * SHARE) - state_bytes
    if room <= 0:
        raise NotTrainableError(
            f"Training needs {state_bytes // _MIB} MiB for gradients and optimiser state alone; there are "
            f"{budget_bytes // _MIB} MiB. LoRA (params.lora), ZeRO with offload_optimizer, or a smaller model "
            "would fit."
        )
    wanted = params.batch_size
    size = wanted if isinstance(wanted, int) else TARGET
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


def state_bytes(module: torch.nn.Module, params: FinetuneParams, device: torch.device) -> int:
    """Gradients and AdamW's two moments, in float32, of what is trained (Rajbhandari et al. 2020, section 3.1); under
    ZeRO and FSDP2 each rank's share, without what is offloaded from the device: ZeRO's moments, all of FSDP2's.
    """
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    share = trained // (world_size() if params.divides_state else 1)
    if device.type == "cpu" or not params.divides_state:
        return 12 * share
    if params.sharding == "fsdp":
        return 0 if params.offload_parameters else 12 * share
    return (4 if params.offload_optimizer else 12) * share


def available_bytes(settings: Settings, device: torch.device) -> int:
    """What training may take: `job_memory_mb`, or what is free on the device now."""
    if settings.jobs.job_memory_mb:
        return settings.jobs.job_memory_mb * _MIB
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return devices.host_memory_bytes() // 2
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return min(free, devices.host_memory_bytes()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _peak(step: Step, size: int, device: torch.device, room: int) -> int | None:
    """Bytes that the step took at its peak; None where memory ran out."""
    failed = False
    before = _reset(device)
    try:
        with _limit_memory(room if device.type == "cpu" else None):
            step(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    # outside the except block: the traceback holds the tensors that did not fit
    gc.collect()
    return None if failed else max(_high_water(device) - before, 0)


@contextmanager
def _limit_memory(room: int | None) -> Iterator[None]:
    """Let memory run out, as it does on a device, after so many bytes more: the kernel would end the process."""
    used = _status("VmData")
    if room is None or not used:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = used + room + _SLACK_BYTES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


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
