"""What the Trainer tells a job, and how a job's checkpoints and stops reach the Trainer."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from workers.methods.common.precision import forward_pass
from workers.methods.common.vlm.lessons import count_tokens
from workers.methods.finetune.arguments import ranks_here
from workers.methods.finetune.fully_sharded import describe_shares, gather, shard_on_cpu
from workers.shared.method import Run
from workers.shared.throughput import Throughput

_STATE = "trainer_state.json"
CHECKPOINTS = "checkpoint"
"""What the names of the Trainer's checkpoints begin with."""


class JobCallback(transformers.TrainerCallback):
    """Reports steps and figures, hands checkpoints to the job, and stops all ranks at the same step."""

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run = run
        self._throughput = Throughput(device)
        self._fed = (0, 0)
        self._newest: dict[str, float] = {}

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Keep figures for the next report."""
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and math.isfinite(value) and name in _FIGURES:
                self._newest[_FIGURES[name]] = float(value)
        self._report(state)

    def feed(self, samples: int, tokens: int) -> None:
        """A forward pass of this rank takes so many."""
        self._fed = (self._fed[0] + samples, self._fed[1] + tokens)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Say what each rank keeps; time runs, that of preparing batches too."""
        if self._run.rank == 0 and (shares := describe_shares(model)):
            self._run.log(shares)
        self._throughput.begin()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What evaluating took does not count."""
        self._throughput.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report; where any rank was asked to stop, have all of them save and stop."""
        (samples, tokens), self._fed = self._fed, (0, 0)
        # every rank takes as much as this one
        self._newest |= self._throughput.end(samples * args.world_size, tokens * args.world_size)
        self._throughput.begin()
        self._report(state)
        if self._run.rank == 0 or dist.is_initialized():
            due = self._run.checkpoint_due(state.global_step, 1 << 62)
            if _any_rank(due):
                control.should_save = True
                control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every rank wrote its part: the newest checkpoint and the best one go to the job's store."""
        _barrier()
        folder = Path(args.output_dir)
        lent = self._lend(state.global_step, folder) if args.world_size > ranks_here() else {}
        if self._run.rank == 0:
            self._run.checkpoint(state.global_step, lambda target: _copy(folder, target), lent)
        _barrier()
        self._run.stop_if_asked()
        self._throughput.begin()

    def _lend(self, step: int, folder: Path) -> dict[str, str]:
        """What nodes other than the first add, each by its first rank: under DeepSpeed a part of every weight."""
        kept: list[Any] = [None]
        if self._run.rank == 0:
            kept = [[path.name for path in folder.glob(f"{CHECKPOINTS}-*")]]
        dist.broadcast_object_list(kept)
        mine: dict[str, str] = {}
        if self._run.rank != 0 and _local_rank() == 0:
            for path in folder.glob(f"{CHECKPOINTS}-*"):
                if path.name not in kept[0]:  # the Trainer removes old ones on the first node alone
                    shutil.rmtree(path)
            mine = self._run.lend(step, lambda target: _copy(folder, target))
        everybodys: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everybodys, mine)
        return {name: digest for files in everybodys for name, digest in files.items()}

    def _report(self, state: Any) -> None:
        if self._run.rank == 0:
            newest, self._newest = self._newest, {}
            self._run.step(state.global_step, state.max_steps, **newest)


class CountingTrainer(transformers.Trainer):
    """A Trainer that tells the job's callback what its forward passes take, and shards on CPUs too.

    `forward_format` is the device and the number format of a forward pass where FSDP2 divides the weights.
    """

    def __init__(self, *, forward_format: tuple[torch.device, torch.dtype], **arguments: Any) -> None:
        self._forward_format = forward_format
        super().__init__(**arguments)

    def create_accelerator_and_postprocess(self) -> None:
        """As usual."""
        super().create_accelerator_and_postprocess()
        shard_on_cpu(self)

    def compute_loss(self, *given: Any, **options: Any) -> Any:
        """Under FSDP2 with the weights in float32 and the forward pass in its own format, as without."""
        if not self.is_fsdp_enabled:
            return super().compute_loss(*given, **options)
        with forward_pass(*self._forward_format):
            return super().compute_loss(*given, **options)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As usual; under FSDP2 the folder alone, for the checkpoint's own file will have the weights.

        The Trainer takes a step for the best one if its folder is there: all ranks have to see it, or some load the
        best checkpoint and wait for the others.
        """
        if self.is_fsdp_enabled:
            Path(output_dir or self.args.output_dir or ".").mkdir(parents=True, exist_ok=True)
        else:
            super().save_model(output_dir, _internal_call)

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], *given: Any, **options: Any
    ) -> torch.Tensor:
        """As usual."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, JobCallback):
                tokens = count_tokens(inputs) if "input_ids" in inputs else 0
                callback.feed(len(inputs["labels"]), tokens)
        return super().training_step(model, inputs, *given, **options)


def callbacks_for(run: Run, patience: int, device: torch.device) -> list[transformers.TrainerCallback]:
    """The job's callback, and after so many evaluations without improvement an end, where `patience` is not 0."""
    early = [transformers.EarlyStoppingCallback(patience)] if patience else []
    return [JobCallback(run, device), *early]


def run_trainer(trainer: Any, run: Run, folder: Path, module: Any) -> tuple[Any, int]:
    """Train on from the job's checkpoint if there is one; the whole module, and the step of its weights.

    `folder` is the Trainer's. Raises StoppingError where the worker is being drained.
    """
    trainer.remove_callback(transformers.PrinterCallback)
    checkpoint = restore_checkpoint(run, folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    run.stop_if_asked()
    made, planned = trainer.state.global_step, trainer.state.max_steps
    if run.rank == 0 and made < planned:
        run.log(f"Nothing got better any more: stopped after step {made} of {planned}.")
    return whole(trainer, module), best_step(trainer.state)


_FIGURES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "eval_loss": "validation_loss",
    "eval_accuracy": "validation_accuracy",
    "eval_exact_match": "validation_exact_match",
}


def restore_checkpoint(run: Run, folder: Path) -> Path | None:
    """Put the files of the job's checkpoint where the Trainer looks for them; the newest, or None.

    Every node has a folder of its own, which the first of its ranks fills. The Trainer notes its best checkpoint
    by its path, which another attempt's folder has not.
    """
    if run.restored is None:
        return None
    if _local_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run.restored, folder)
        for state in folder.glob(f"{CHECKPOINTS}-*/{_STATE}"):
            noted = json.loads(state.read_text())
            if noted.get("best_model_checkpoint"):
                noted["best_model_checkpoint"] = str(folder / Path(noted["best_model_checkpoint"]).name)
                state.write_text(json.dumps(noted))
    _barrier()
    found = sorted(folder.glob(f"{CHECKPOINTS}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return found[-1] if found else None


def best_step(state: Any) -> int:
    """The step whose weights the Trainer ended with."""
    best = state.best_model_checkpoint
    return int(Path(best).name.rpartition("-")[2]) if best else int(state.global_step)


def whole(trainer: Any, module: Any) -> Any:
    """The trained module with all its weights; where each rank holds a part (ZeRO stage 3, FSDP2), gathered first.

    Every rank calls this; rank 0's module alone is whole then, on the CPU, and the others hold no weights.
    """
    if trainer.is_fsdp_enabled:
        return gather(module, keeps=trainer.args.process_index == 0)
    if not trainer.is_deepspeed_enabled or trainer.accelerator.state.deepspeed_plugin.zero_stage < 3:
        return trainer.accelerator.unwrap_model(trainer.model)
    import deepspeed

    plain: dict[int, torch.nn.Parameter] = {}  # by identity, since tied weights have several names
    for parameter in module.parameters():
        with deepspeed.zero.GatheredParameters(
            [parameter], modifier_rank=None
        ):  # one at a time: all together may not fit a device
            kept = parameter.detach().cpu().clone() if trainer.args.process_index == 0 else torch.empty(0)
        plain[id(parameter)] = torch.nn.Parameter(kept, requires_grad=parameter.requires_grad)
    trainer.model_wrapped.destroy()  # takes its hooks out, which want parameters of its own kind
    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]  # or `generate` waits for ranks that are done
    for part in module.modules():
        part._parameters = {
            name: None if parameter is None else plain[id(parameter)]
            for name, parameter in part._parameters.items()
        }
    return module


def _copy(folder: Path, target: Path) -> None:
    for checkpoint in folder.glob(f"{CHECKPOINTS}-*"):
        shutil.copytree(checkpoint, target / checkpoint.name)


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _any_rank(mine: bool) -> bool:
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    device = "cuda" if "nccl" in dist.get_backend() else "cpu"
    flag = torch.tensor([int(mine)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def _barrier() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
