"""The Trainer's arguments and DeepSpeed's configuration, from a job's parameters."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from app.inference import device as devices
from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams
from app.methods.params import warmup_note, warmup_within
from app.settings import Settings
from workers.methods.common.precision import training_dtype

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""Our words -> the Trainer's, whose `constant` knows no warm-up."""


@dataclass(frozen=True)
class Batches:
    """How the examples of one optimiser step are cut up."""

    size: int
    """Examples a forward pass and rank."""
    accumulation: int
    reason: str


def world_size() -> int:
    """Ranks that train together, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank_device(settings: Settings) -> torch.device:
    """Where this rank trains: on CUDA each rank of a node has a device of its own, which torch then takes for usual.

    Raises NotTrainableError where the node has more ranks than GPUs: NCCL refuses two on one, and they would share what
    one has to itself.
    """
    device = torch.device(devices.parse(settings.models.device).torch_name)
    if device.type == "cpu" or "LOCAL_RANK" not in os.environ:
        return device
    ranks, gpus = ranks_here(), devices.cuda_devices() if device.type == "cuda" else 1
    if ranks > gpus:
        raise NotTrainableError(
            f"{ranks} processes were asked for, and the worker has {gpus} GPU{'s' if gpus > 1 else ''}: each process "
            f"needs one of its own. Set `processes` to {gpus}, or train where VISION_DEVICE=cpu, on cores."
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def ranks_here() -> int:
    """Of those, the ones on this node."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def meet_alone() -> None:
    """Let a single process be what torchrun makes of several: DeepSpeed asks for a meeting place even then."""
    if "RANK" in os.environ:
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in alone.items()})


def _compile_nothing() -> None:
    """Keep DeepSpeed from compiling a reduction for inference, which takes every new CPU machine a minute and a C++
    compiler; training never calls it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def training_arguments(
    params: FinetuneParams,
    batches: Batches,
    *,
    folder: Path,
    examples: int,
    evaluates: bool,
    seed: int,
    device: torch.device,
    metric: str,
    log: Callable[[str], None],
    fsdp: dict[str, Any] | None = None,
) -> Any:
    """`transformers.TrainingArguments` for `examples` training examples.

    `metric` is what makes one checkpoint better than another, `fsdp` the settings of FSDP2 where it divides the
    weights. Raises NotTrainableError for what this worker cannot do.
    """
    per_step = batches.size * batches.accumulation * world_size()
    steps = max(math.ceil(examples / per_step * params.passes), 1)
    deepspeed = deepspeed_config(params, log)
    if deepspeed is not None:
        meet_alone()
        if device.type == "cpu":
            _compile_nothing()
    arguments: Any = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=params.passes,
        per_device_train_batch_size=batches.size,
        per_device_eval_batch_size=batches.size,
        gradient_accumulation_steps=batches.accumulation,
        learning_rate=params.peak_rate,
        lr_scheduler_type=_SCHEDULES[params.schedule],
        warmup_steps=_warmup_steps(params, steps, log),
        weight_decay=params.weight_decay,
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        deepspeed=deepspeed,
        fsdp=cast(
            Any, fsdp is not None
        ),  # a truth value since transformers 5, whose annotation still says text
        fsdp_config=fsdp,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_drop_last=False,
        **_rhythm(params, steps, metric if evaluates else None),
        # under FSDP2 the loss is computed in this format by `CountingTrainer` itself
        **_device_arguments(torch.float32 if fsdp else forward_dtype(params, device), device),
    )
    if arguments.n_gpu > 1:  # a single process would spread each batch over all GPUs that it sees
        arguments._n_gpu = 1
    return arguments


def _rhythm(params: FinetuneParams, steps: int, metric: str | None) -> dict[str, Any]:
    """When the Trainer evaluates (never without a `metric`), saves and logs in so many steps.

    Evaluations and checkpoints share their rhythm, since the best checkpoint can only be one that was saved.
    """
    every = max(min(params.evaluate_every, params.checkpoint_every, steps), 1)
    return {
        "eval_strategy": "no" if metric is None else "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": metric is not None,
        "metric_for_best_model": metric,
        "greater_is_better": metric is not None and not metric.endswith("loss"),
        "logging_steps": max(min(every // 5, 10), 1),
    }


def _device_arguments(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """How ranks reach the device, and the format that the Trainer computes in."""
    on_cuda = device.type == "cuda"
    return {
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "use_cpu": device.type == "cpu",
        "ddp_backend": None if world_size() == 1 else "nccl" if on_cuda else "gloo",
        "dataloader_pin_memory": on_cuda,  # or a job on the CPU of a GPU machine wakes the GPU
    }


def forward_dtype(params: FinetuneParams, device: torch.device) -> torch.dtype:
    """The number format of a forward pass; raises NotTrainableError for one that the device does not train in."""
    if params.precision == "auto":
        return training_dtype(device)
    if params.precision == "fp16" and device.type != "cuda":
        raise NotTrainableError(
            "Half precision (fp16) trains on CUDA devices only: leave `precision` to auto."
        )
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[params.precision]


def _warmup_steps(params: FinetuneParams, steps: int, log: Callable[[str], None]) -> int:
    """Of so many steps those during which the rate rises; says where they are not those that were asked for."""
    warmup = math.ceil(warmup_within(params.warmup_steps, params.warmup_share, steps))
    if params.warmup_steps >= steps:
        log(warmup_note(params.warmup_steps, steps, warmup))
    return warmup


def deepspeed_config(
    params: FinetuneParams, log: Callable[[str], None] | None = None
) -> dict[str, Any] | None:
    """What DeepSpeed reads, its `auto` values filled from the Trainer's arguments; None where it is off.

    Parameters can be offloaded at stage 3 only (Ren et al. 2021; DeepSpeed's documentation of
    `offload_param`), so asking for it raises the stage, and says so. Raises NotTrainableError where DeepSpeed is not
    installed.
    """
    if params.sharding == "fsdp":
        return None
    stage = {"off": 0, "zero2": 2, "zero3": 3}[params.deepspeed]
    if params.offload_parameters and stage < 3:
        if log is not None:
            log("DeepSpeed offloads parameters at ZeRO stage 3 only: the stage is raised to 3.")
        stage = 3
    if not stage:
        return None
    if importlib.util.find_spec("deepspeed") is None:
        raise NotTrainableError(
            "This worker has no DeepSpeed: leave `deepspeed` out, or install 'llamafarm-vision[scale]' on it."
        )
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": False, "contiguous_gradients": True}
    if params.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if params.offload_parameters:
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        # each node reads and writes on its own disk; what is kept of all of them is the job's business
        "checkpoint": {"use_node_local_storage": params.nodes > 1},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "steps_per_print": 1_000_000,
    }
