"""What this service brings to a recommendation: its machine in numbers, and the models it has already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.inference.model_info import ModelInfo
from app.strategies.definition import DEFAULT, Strategy
from app.strategies.presets import Machine
from app.strategies.recommending import FindLocalModel, LocalModel, explain_lack, how_to_get
from app.strategies.schemas import Hardware, StrategyFit

_MB_TO_GB = 1024 * 1024 / 1e9


def machine_of(hardware: Hardware) -> Machine:
    """This machine; its GPUs count only where models may run on them. As many GB as its maker says, thus decimal."""
    on_gpu = hardware.gpus and (hardware.device or "").startswith("cuda")
    return Machine(
        gpu_memory_gb=round(min(gpu.memory_mb for gpu in hardware.gpus) * _MB_TO_GB, 1) if on_gpu else 0,
        gpus=len(hardware.gpus) if on_gpu else 0,
        cpu_memory_gb=round(hardware.memory.total_mb * _MB_TO_GB, 1),
        cores=hardware.cpu.cores,
    )


def fits(strategies: Iterable[Strategy], hardware: Hardware, known: Sequence[ModelInfo]) -> list[StrategyFit]:
    """Whether this machine is enough for each strategy, with the models that the service has."""
    machine, ready = machine_of(hardware), make_finder(known)
    lacks = {strategy.name: explain_lack(strategy, machine, ready(strategy)) for strategy in strategies}
    return [StrategyFit(name=name, fits=reason is None, reason=reason) for name, reason in lacks.items()]


def describe_use(strategy: Strategy, known: Sequence[ModelInfo]) -> str:
    """Which of the known models the strategy would use, or what it takes to have one, in a sentence."""
    here = make_finder(known)(strategy)
    if here is None:
        return f"{(how := how_to_get(strategy))[0].upper()}{how[1:]}; none is here."
    small = f", which knows only {here.knows}" if here.knows else ""
    return f"The service's model '{here.name}'{small}."


def make_finder(known: Sequence[ModelInfo]) -> FindLocalModel:
    """Which of the known models a strategy would use; None where it needs one that is not here."""

    def ready(strategy: Strategy) -> LocalModel | None:
        wanted = strategy.model
        for model in known:
            if model.kind != wanted.kind or wanted.family not in (DEFAULT, model.family):
                continue
            if model.tasks is not None and strategy.task not in model.tasks:
                continue
            if wanted.checkpoint == DEFAULT:
                if model.default or model.name == model.family == wanted.family:  # what comes with the family
                    return LocalModel(model.name, (*model.aliases, model.name)[0], model.knows)
            elif wanted.checkpoint in (model.name, *model.aliases):
                return LocalModel(model.name, (*model.aliases, model.name)[0], model.knows)
        return None

    return ready
