"""Which strategies fit a wish and a machine, best first, and for each of the others why not.

Knows what strategies say they need; compares numbers and measures nothing. Knows nothing of HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.catalog.strategies.presets import Machine
from app.catalog.strategies.schema import DEFAULT, LearningType, Strategy, shown
from app.training.spec import Task

_WORDS: dict[LearningType, str] = {"one_shot": "one-shot", "few_shot": "few-shot", "many_shot": "many-shot"}


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to learn, and on what; None leaves it open."""

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
    larger: tuple[str, ...] = ()
    """Its larger checkpoints that fit the machine too."""


@dataclass(frozen=True)
class Here:
    """A model that the service has."""

    name: str
    checkpoint: str
    """Its hub id where it has one."""
    knows: str | None = None
    """Completes "it knows only ..." of a model of a small world."""


Ready = Callable[[Strategy], Here | None]
"""The model that a strategy would use here, None where the service has none for it."""


def recommend(
    strategies: Iterable[Strategy], wanted: Wanted, ready: Ready | None = None
) -> tuple[list[Verdict], list[Verdict]]:
    """Those that fit, best first, and those left out, by name.

    Best is: its model is here (where `ready` tells), then the least |log(dataset size / samples.best)|, then the
    shortest time.
    """
    verdicts = [judge(one, wanted, ready) for one in strategies]
    fitting = [one for one in verdicts if one.fits]
    size = wanted.dataset_size

    def order(verdict: Verdict) -> tuple[bool, float, float, str]:
        strategy = verdict.strategy
        away = abs(math.log(size / strategy.samples.best)) if size else 0.0
        time_s = strategy.hardware.expected_time_s
        absent = ready is not None and ready(strategy) is None
        return absent, away, math.inf if time_s is None else time_s, strategy.name

    left_out = sorted((one for one in verdicts if not one.fits), key=lambda one: one.strategy.name)
    return sorted(fitting, key=order), left_out


def judge(strategy: Strategy, wanted: Wanted, ready: Ready | None = None) -> Verdict:
    """Whether one strategy fits."""
    here = None if ready is None else ready(strategy)
    against = _unwanted(strategy, wanted) or lacking(strategy, wanted.machine, here)
    if against is not None:
        return Verdict(strategy, False, against)
    absent = ready is not None and here is None
    larger = tuple(
        one.checkpoint
        for one in strategy.model.larger
        if _short_of(one.gpu_memory_gb, one.cpu_memory_gb, wanted.machine) is None
    )
    return Verdict(strategy, True, _in_favour(strategy, wanted, here, absent), larger)


def lacking(strategy: Strategy, machine: Machine, here: Here | None = None) -> str | None:
    """What the machine lacks for the strategy with its own checkpoint, or with the model that is `here`; None where
    it fits.
    """
    needs = strategy.hardware
    with_model = needs if here is None else strategy.larger(here.checkpoint) or needs
    short = _short_of(with_model.gpu_memory_gb, with_model.cpu_memory_gb, machine)
    if short is None and machine.usable_gpus < strategy.gpus:
        short = f"It needs {strategy.gpus} GPUs; the machine has {machine.usable_gpus}."
    if short is None and machine.cores is not None and machine.cores < needs.cpu_cores:
        short = f"It needs {needs.cpu_cores} CPU cores; the machine has {machine.cores}."
    return short


def _unwanted(strategy: Strategy, wanted: Wanted) -> str | None:
    if wanted.task not in (None, strategy.task):
        return f"It is for {strategy.task}, not for {wanted.task}."
    if wanted.learning_type is not None and wanted.learning_type not in strategy.learning_types:
        does = " and ".join(_WORDS[one] for one in strategy.learning_types)
        return f"It is for {does} learning, not for {_WORDS[wanted.learning_type]}."
    size, samples = wanted.dataset_size, strategy.samples
    if size is not None and size < samples.min:
        return f"It needs at least {_examples(samples.min)}; there {'is' if size == 1 else 'are'} {size:,}."
    if size is not None and samples.max is not None and size > samples.max:
        return (
            f"It is meant for at most {_examples(samples.max)}: with {size:,}, another one uses them better."
        )
    return None


def _short_of(gpu_gb: float | None, cpu_gb: float, machine: Machine) -> str | None:
    if gpu_gb and not machine.usable_gpus:
        return f"It needs a CUDA GPU with {gpu_gb:g} GB; the machine has none."
    if gpu_gb and machine.gpu_memory_gb < gpu_gb:
        return f"It needs a GPU with {gpu_gb:g} GB; the machine's have {machine.gpu_memory_gb:g} GB."
    if machine.cpu_memory_gb is not None and machine.cpu_memory_gb < cpu_gb:
        return f"It needs {cpu_gb:g} GB of memory; the machine has {machine.cpu_memory_gb:g} GB."
    return None


def _in_favour(strategy: Strategy, wanted: Wanted, here: Here | None, absent: bool) -> str:
    said = ["nothing is trained" if strategy.method is None else f"trains with the method {strategy.method}"]
    size, best = wanted.dataset_size, strategy.samples.best
    if size is not None:
        near = abs(math.log(size / best)) <= math.log(3)
        said.append(
            f"{_examples(size)} {'are' if size > 1 else 'is'} about what it is meant for"
            if near
            else f"{_examples(size)} will do, though it is meant for about {best:,}"
        )
    needs = strategy.hardware if here is None else strategy.larger(here.checkpoint) or strategy.hardware
    said.append(
        f"{needs.gpu_memory_gb:g} GB of GPU memory are there"
        if needs.gpu_memory_gb
        else f"needs no GPU and {needs.cpu_memory_gb:g} GB of memory"
    )
    if here is not None:
        small = f", which knows only {here.knows}" if here.knows else ""
        said.append(f"the service's model '{here.name}' can be used{small}")
    elif absent:
        said.append(how_to_get(strategy))
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def how_to_get(strategy: Strategy) -> str:
    """What a service needs for the strategy, as a part of a sentence."""
    model = strategy.model
    if model.checkpoint != DEFAULT:
        return f"it uses the model '{shown(model.checkpoint)}'"
    setting = "VISION_ENCODER" if model.kind == "encoder" else "VISION_VLM"
    such_as = f", such as {setting}={shown(model.larger[0].checkpoint)}" if model.larger else f" as {setting}"
    return f"it needs a model of the family {model.family}{such_as}"


def _examples(count: int) -> str:
    return f"{count:,} example{'' if count == 1 else 's'}"
