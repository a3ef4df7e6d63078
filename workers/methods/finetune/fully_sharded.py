"""PyTorch's FSDP2 under the Trainer: its settings, and how the divided weights become a whole module again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from app.methods.finetune import FinetuneParams
from workers.methods.finetune.arguments import world_size


def fsdp_config(
    params: FinetuneParams, module: torch.nn.Module, device: torch.device
) -> dict[str, Any] | None:
    """The Trainer's `fsdp_config`; None where `sharding` is another.

    The layers that the module's models may not split are gathered one at a time, all other weights together before
    them; a module that names none is gathered at once. A layer that shares a weight with another part (tied
    embeddings) is among the others, since a weight has one place.
    """
    if params.sharding != "fsdp":
        return None
    layers = _layers(module)
    wrapping = {
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": layers,
    }
    return {
        "version": 2,
        "state_dict_type": "FULL_STATE_DICT",  # one file that any number of ranks goes on from
        "cpu_offload": params.offload_parameters and device.type != "cpu",  # where they are anyway
        **(wrapping if layers else {"auto_wrap_policy": "NO_WRAP"}),
    }


def _layers(module: torch.nn.Module) -> list[str]:
    """The classes that its models name and that share no weight with what is outside of them."""
    names = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    uses = _count_uses(module)
    named = [part for part in module.modules() if type(part).__name__ in names]
    sharing = {
        type(part).__name__
        for part in named
        if any(uses[weight] > count for weight, count in _count_uses(part).items())
    }
    return sorted({type(part).__name__ for part in named} - sharing)


def _count_uses(module: torch.nn.Module) -> Counter[torch.nn.Parameter]:
    return Counter(weight for _, weight in module.named_parameters(remove_duplicate=False))


def shard_on_cpu(trainer: Any) -> None:
    """Let the Trainer shard on a CPU: accelerate takes FSDP's plugin for GPUs alone (AcceleratorState.__init__) and
    would train copies instead, which PyTorch does not ask for.
    """
    state = trainer.accelerator.state
    if trainer.args.fsdp_plugin_args is None or state.distributed_type != DistributedType.MULTI_CPU:
        return
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    trainer.is_fsdp_enabled = True


def describe_shares(module: torch.nn.Module) -> str:
    """What FSDP2 made of the module: this rank's share, and how much is gathered together; empty where it is whole."""
    units = [part for part in module.modules() if isinstance(part, FSDPModule)]
    if not units:
        return ""
    parameters = list(module.parameters())
    kept = sum(
        parameter.to_local().numel() if isinstance(parameter, DTensor) else parameter.numel()
        for parameter in parameters
    )
    whole = sum(parameter.numel() for parameter in parameters)
    return (
        f"FSDP2: each of {world_size()} ranks keeps about {kept:,} of {whole:,} weights, which are gathered in "
        f"{len(units)} group{'s' if len(units) > 1 else ''}"
    )


def gather(module: torch.nn.Module, keeps: bool) -> torch.nn.Module:
    """Make a sharded module an ordinary one on the CPU, one parameter at a time; every rank calls this.

    Where `keeps` is false (all ranks but the first) the module holds no weights afterwards.
    """
    plain: dict[int, torch.nn.Parameter] = {}  # by identity, since tied weights have several names
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    for parameter in module.parameters():
        here: Any = parameter.detach()
        full = here.full_tensor() if isinstance(parameter, DTensor) else here
        kept = full.cpu().clone() if keeps else torch.empty(0)
        plain[id(parameter)] = torch.nn.Parameter(kept, requires_grad=parameter.requires_grad)
    for part in module.modules():
        part._parameters = {
            name: None if parameter is None else plain[id(parameter)]
            for name, parameter in part._parameters.items()
        }
        if isinstance(part, FSDPModule):
            state = part._get_fsdp_state()
            state._pre_forward_hook_handle.remove()  # they would look for the shards
            state._post_forward_hook_handle.remove()
            part.__class__ = type(part).__bases__[1]  # `fully_shard` made a subclass of it
    return module
