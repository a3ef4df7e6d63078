"""Which strategies fit the requirements and a machine, best first, and for each of the others why not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from app.methods.tasks import Task
from app.strategies.definition import DEFAULT, LEARNING_WORDS, LearningType, Strategy, name_checkpoint
from app.strategies.presets import Machine
from app.strategies.spreading import spread
from app.strategies.timing import ExpectedTime, estimate_time

_NOT_ESTIMATED = ExpectedTime(None, None, "")


@dataclass(frozen=True)
class Requirements:
    """The task and the machine of a request; None: not specified."""

    machine: Machine
    learning_type: LearningType | None = None
    dataset_size: int | None = None
    """Examples, all labels together."""
    task: Task | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a strategy fits, in one sentence."""

    strategy: Strategy
    fits: bool
    reason: str
    time: ExpectedTime = _NOT_ESTIMATED
    """Of one that fits."""
    params: dict[str, Any] = field(default_factory=dict)
    """Settings that a job needs on the machine beside the strategy's own: processes and ZeRO stage."""
    larger: tuple[str, ...] = ()
    """Its larger checkpoints that fit the machine too."""
    larger_params: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The settings that each of these needs, where any."""


@dataclass(frozen=True)
class LocalModel:
    """A model that the service has."""

    name: str
    checkpoint: str
    """Its hub id where it has one."""
    knows: str | None = None
    """Completes "it knows only ..." of a model of a small world."""


FindLocalModel = Callable[[Strategy], LocalModel | None]
"""The model that a strategy would use here, None where the service has none for it."""


def recommend(
    strategies: Iterable[Strategy], wanted: Requirements, ready: FindLocalModel | None = None
) -> tuple[list[Verdict], list[Verdict]]:
    """Those that fit, best first, and those left out, by name.

    Best is, in turn: its model is here (where `ready` tells); it trains nothing and was measured to be as good as
    training with that many examples (`as_good_as_training`); the least |log(examples / samples.best)|; the shortest
    time. Tasks are not weighed against each other: a client that names none compares within each.
    """
    verdicts = [judge(strategy, wanted, ready) for strategy in strategies]

    def order(verdict: Verdict) -> tuple[bool, bool, float, float, str]:
        strategy, size = verdict.strategy, wanted.dataset_size
        away = abs(math.log(size / strategy.samples.best)) if size else 0.0
        seconds = verdict.time.seconds
        absent = ready is not None and ready(strategy) is None
        trains_for_nothing = not _is_as_good(strategy, size)
        return absent, trains_for_nothing, away, math.inf if seconds is None else seconds, strategy.name

    left_out = [verdict for verdict in verdicts if not verdict.fits]
    fitting = [verdict for verdict in verdicts if verdict.fits]
    return sorted(fitting, key=order), sorted(left_out, key=lambda verdict: verdict.strategy.name)


def judge(strategy: Strategy, wanted: Requirements, ready: FindLocalModel | None = None) -> Verdict:
    """Whether one strategy fits."""
    here = None if ready is None else ready(strategy)
    against = _find_unwanted(strategy, wanted) or explain_lack(strategy, wanted.machine, here)
    if against is not None:
        return Verdict(strategy, False, against)
    larger = {
        known.checkpoint: spread(strategy, known.gpu_memory_gb, known.cpu_memory_gb, wanted.machine)
        for known in strategy.model.larger
        if _explain_shortage(strategy, known.gpu_memory_gb, known.cpu_memory_gb, wanted.machine) is None
    }
    gpu_gb, cpu_gb = _needs(strategy, here)
    params = spread(strategy, gpu_gb, cpu_gb, wanted.machine) or {}
    other = here.name if here is not None and strategy.larger(here.checkpoint) is not None else None
    return Verdict(
        strategy,
        True,
        _in_favour(strategy, wanted, here, params, absent=ready is not None and here is None),
        estimate_time(strategy, wanted.dataset_size, wanted.machine, int(params.get("processes", 1)), other),
        params,
        tuple(larger),
        {checkpoint: settings for checkpoint, settings in larger.items() if settings},
    )


def explain_lack(strategy: Strategy, machine: Machine, here: LocalModel | None = None) -> str | None:
    """What the machine lacks for the strategy with its own checkpoint, or with the model that is `here`; None where
    it fits.
    """
    needs = strategy.hardware
    short = _explain_shortage(strategy, *_needs(strategy, here), machine)
    if short is None and machine.usable_gpus < strategy.gpus:
        short = f"It needs {strategy.gpus} GPUs; the machine has {machine.usable_gpus}."
    if short is None and machine.cores is not None and machine.cores < needs.cpu_cores:
        short = f"It needs {needs.cpu_cores} CPU cores; the machine has {machine.cores}."
    return short


def _find_unwanted(strategy: Strategy, wanted: Requirements) -> str | None:
    if wanted.task not in (None, strategy.task):
        return f"It is for {strategy.task}, not for {wanted.task}."
    if wanted.learning_type is not None and wanted.learning_type not in strategy.learning_types:
        does = " and ".join(LEARNING_WORDS[learning_type] for learning_type in strategy.learning_types)
        return f"It is for {does} learning, not for {LEARNING_WORDS[wanted.learning_type]}."
    size, samples = wanted.dataset_size, strategy.samples
    if size is not None and size < samples.min:
        return f"It needs at least {_examples(samples.min)}; there {'is' if size == 1 else 'are'} {size:,}."
    if size is not None and samples.max is not None and size > samples.max:
        return (
            f"It is meant for at most {_examples(samples.max)}: with {size:,}, another one uses them better."
        )
    return None


def _needs(strategy: Strategy, here: LocalModel | None) -> tuple[float | None, float]:
    """Memory of each GPU and of the machine, with the model that is `here` or else the strategy's own."""
    model = None if here is None else strategy.larger(here.checkpoint)
    needs = model or strategy.hardware
    return needs.gpu_memory_gb, needs.cpu_memory_gb


def _is_as_good(strategy: Strategy, examples: int | None) -> bool:
    """Whether it trains nothing and was measured to do as well as training with so many examples, or any."""
    found = strategy.as_good_as_training
    return found is not None and (examples is None or examples <= found.up_to_examples)


def _explain_shortage(
    strategy: Strategy, gpu_gb: float | None, cpu_gb: float, machine: Machine
) -> str | None:
    if gpu_gb and not machine.usable_gpus:
        return f"It needs a CUDA GPU with {gpu_gb:g} GB; the machine has none."
    # several GPUs hold what one does not only where the strategy can divide its model among them
    if gpu_gb and machine.gpu_memory_gb < gpu_gb and not spread(strategy, gpu_gb, cpu_gb, machine):
        return f"It needs a GPU with {gpu_gb:g} GB; the machine's have {machine.gpu_memory_gb:g} GB."
    if machine.cpu_memory_gb is not None and machine.cpu_memory_gb < cpu_gb:
        return f"It needs {cpu_gb:g} GB of memory; the machine has {machine.cpu_memory_gb:g} GB."
    return None


def _in_favour(
    strategy: Strategy, wanted: Requirements, here: LocalModel | None, params: dict[str, Any], *, absent: bool
) -> str:
    said = ["nothing is trained" if strategy.method is None else f"trains with the method {strategy.method}"]
    size, is_as_good = wanted.dataset_size, _is_as_good(strategy, wanted.dataset_size)
    if size is not None and not is_as_good:
        said.append(_amount(strategy, size))
    gpu_gb, cpu_gb = _needs(strategy, here)
    if params.get("offload_parameters"):
        said.append(
            f"{gpu_gb:g} GB are more than {params['processes']} GPUs have: the parameters are held in host memory, "
            "which is slower"
        )
    elif params.get("deepspeed") == "zero3":
        said.append(f"{gpu_gb:g} GB of GPU memory are divided among {params['processes']} GPUs")
    elif gpu_gb:
        said.append(f"{gpu_gb:g} GB of GPU memory are there")
    else:
        said.append(f"needs no GPU and {cpu_gb:g} GB of memory")
    if params:
        said.append(f"uses all {params['processes']} GPUs with DeepSpeed (the extra 'scale')")
    if here is not None:
        small = f", which knows only {here.knows}" if here.knows else ""
        said.append(f"the service's model '{here.name}' can be used{small}")
    elif absent:
        said.append(how_to_get(strategy))
    text = "; ".join(said)
    text = f"{text[:1].upper()}{text[1:]}."
    if is_as_good and strategy.as_good_as_training is not None:
        text += f" {strategy.as_good_as_training.says}"
    return text


def _amount(strategy: Strategy, size: int) -> str:
    best = strategy.samples.best
    if abs(math.log(size / best)) <= math.log(3):
        return f"{_examples(size)} {'are' if size > 1 else 'is'} about what it is meant for"
    return f"{_examples(size)} will do, though it is meant for about {best:,}"


def how_to_get(strategy: Strategy) -> str:
    """What a service needs for the strategy, as a part of a sentence."""
    model = strategy.model
    if model.checkpoint != DEFAULT:
        return f"it uses the model '{name_checkpoint(model.checkpoint)}'"
    setting = "VISION_ENCODER" if model.kind == "encoder" else "VISION_VLM"
    such_as = (
        f", such as {setting}={name_checkpoint(model.larger[0].checkpoint)}"
        if model.larger
        else f" as {setting}"
    )
    return f"it needs a model of the family {model.family}{such_as}"


def _examples(count: int) -> str:
    return f"{count:,} example{'' if count == 1 else 's'}"
