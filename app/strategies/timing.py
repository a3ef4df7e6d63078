"""How long a strategy is likely to take with so many examples on a machine.

The figures that strategies carry were measured on CPUs.

    seconds = (fixed + (expected - fixed) * examples / expected examples)
              * speed

    on a CPU  speed = expected cores / min(cores, useful cores)
    on a GPU  speed = 1 / (ASSUMED_GPU_SPEED * (1 + (processes - 1) * GPU_EFFICIENCY))

A GPU counts for methods that gain from one, of other models than lite. Without a number of examples, or of cores, it
is the strategy's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.families import FAMILIES
from app.methods import METHODS
from app.strategies.definition import Strategy
from app.strategies.presets import Machine

ASSUMED_GPU_SPEED = 10.0
"""How many times as fast as the cores of a strategy's figure a GPU is taken to be: an assumption, never measured."""
GPU_EFFICIENCY = 0.8
"""What each further GPU adds, as a share of the first. An assumption too."""


@dataclass(frozen=True)
class ExpectedTime:
    """An estimate, and what it is made of."""

    seconds: float | None
    """None where nothing is known that could be scaled."""
    examples: int | None
    """With how many examples; None: with each one."""
    note: str
    """One sentence."""


def estimate_time(
    strategy: Strategy,
    examples: int | None,
    machine: Machine,
    processes: int = 1,
    other_model: str | None = None,
) -> ExpectedTime:
    """Seconds until the strategy has learned that many examples on the machine.

    `processes` is how many GPUs train at the same time; `other_model` names the model that is used instead of the
    strategy's own, for which nothing was measured.
    """
    needs = strategy.hardware
    if needs.training_time_hours is not None and needs.expected_time_s is None:
        least, most = needs.training_time_hours
        return ExpectedTime(None, examples, f"{_range(least, most)}, as its file says; nothing was measured.")
    if needs.expected_time_s is None:
        return ExpectedTime(None, examples, "How long it takes was not measured.")
    if other_model is not None:
        return ExpectedTime(None, examples, f"How long it takes with {other_model} was not measured.")
    seconds = needs.expected_time_s
    if needs.expected_examples is None:
        if examples is not None:
            seconds *= examples
    elif examples is not None:
        seconds = (
            needs.expected_fixed_s + (seconds - needs.expected_fixed_s) * examples / needs.expected_examples
        )
    note = f"Estimated from {_describe_measurement(strategy)}"
    if machine.usable_gpus and _gains_from_gpu(strategy):
        seconds /= ASSUMED_GPU_SPEED * (1 + (processes - 1) * GPU_EFFICIENCY)
        note += f"; a GPU is assumed to be {ASSUMED_GPU_SPEED:g} times as fast, none was measured"
    elif machine.cores is not None:
        seconds *= needs.expected_cores / min(machine.cores, max(needs.useful_cores, needs.expected_cores))
    shown = examples if examples is not None else needs.expected_examples
    return ExpectedTime(round(seconds, 3), shown, f"{note}.")


def _gains_from_gpu(strategy: Strategy) -> bool:
    if strategy.method is None or not METHODS[strategy.method].gains_from_gpu:
        return False
    family = FAMILIES.find(strategy.model.family)
    return family is None or family.gains_from_gpu


def _describe_measurement(strategy: Strategy) -> str:
    needs = strategy.hardware
    cores = f"{needs.expected_cores} CPU core{'s' if needs.expected_cores > 1 else ''}"
    count = needs.expected_examples
    of = "each example" if count is None else f"{count:,} example{'' if count == 1 else 's'}"
    return f"{needs.expected_time_s:g} s for {of} on {cores}"


def _range(least: float, most: float) -> str:
    return f"{least:g} hours" if least == most else f"{least:g} to {most:g} hours"
