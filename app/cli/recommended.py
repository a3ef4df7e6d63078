"""How recommended strategies are shown: the machine, then for each task what fits, best first, and what to type."""

from __future__ import annotations

import json
from typing import Any

from app.cli import output

_TASKS = {
    "classification": "Labels for images (classification)",
    "vqa": "Answers to questions about images (vqa)",
    "caption": "Descriptions of images (caption)",
}
_MINUTE_S, _HOUR_S = 60, 3600


def show(found: dict[str, Any], machine: str, examples: int | None) -> None:
    """Print a reply of `POST /v1/strategies/recommend` for a machine called `machine` and so many examples."""
    _print(_machine(machine, found["machine"], found["hardware"]))
    for group in found["groups"]:
        _print(f"\n{_TASKS[group['task']]}")
        if group["data"]:
            _show_fitting(group["data"], examples)
        else:
            _print("No strategy fits; the reasons are below.")
    if found["data"]:
        _print("\nTimes are estimated from measured ones; --json says from which, docs/strategies.md how.")
    tasks = {group["task"] for group in found["groups"]}
    left_out = [strategy for strategy in found["left_out"] if strategy["task"] in tasks]
    if left_out:
        _print("")
        rows = ([strategy["name"], strategy["reason"]] for strategy in left_out)
        output.print_table(["left out", "why"], rows, empty="")


def _show_fitting(fitting: list[dict[str, Any]], examples: int | None) -> None:
    best, *others = fitting
    _print(f"Begin with {best['name']}: {_command(best, examples)}")
    rows = (
        [
            str(rank),
            strategy["name"],
            format_learning_time(strategy["expected_time_s"], strategy["expected_examples"]),
            _why(strategy),
        ]
        for rank, strategy in enumerate(fitting, 1)
    )
    output.print_table(["", "fits", "time", "why"], rows, empty="")
    for strategy in others:
        if strategy["params"]:
            _print(f"{strategy['name']} on all GPUs: {_command(strategy, examples)}")


def _print(line: str) -> None:
    output.out.print(line, soft_wrap=True, markup=False)


def format_learning_time(seconds: float | None, examples: int | None) -> str:
    """`at once`, `about 40 s for 50`; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 1:
        return "at once"
    if seconds < 2 * _MINUTE_S:
        text = f"{seconds:.0f} s"
    elif seconds < 2 * _HOUR_S:
        text = f"{seconds / _MINUTE_S:.0f} min"
    else:
        text = f"{seconds / _HOUR_S:,.0f} h"
    return f"about {text} for {examples:,}" if examples else f"about {text}"


def _machine(name: str, machine: dict[str, Any], hardware: dict[str, Any]) -> str:
    """One sentence of the machine and one of what it is for."""
    cores = hardware["cores"]
    has = [f"{cores} CPU core{'' if cores == 1 else 's'}"] if cores else []
    if hardware["cpu_memory_gb"] is not None:
        has.append(f"{hardware['cpu_memory_gb']:g} GB of memory")
    has.append(machine["memory_limit"] if hardware["gpu_memory_gb"] else "no CUDA GPU")
    words = [word.replace("_", "-") for word in machine["recommended_learning"]]
    suits = f"{', '.join(words[:-1])} and {words[-1]} learning suit it"
    size = machine["max_model_size"]
    fits = f"; models of up to {size.removesuffix('b')} billion parameters fit" if size else ""
    return f"{name}: {', '.join(has)}. By its memory, {suits}{fits}."


def _why(strategy: dict[str, Any]) -> str:
    """The reason, then what the reader may not miss: larger models, and a time that could not be estimated."""
    said = [strategy["reason"]]
    if strategy["larger"]:
        larger = (
            name
            + (
                f" (with {_flags(strategy['larger_params'][name])})"
                if name in strategy["larger_params"]
                else ""
            )
            for name in strategy["larger"]
        )
        said.append(f"Larger models fit too: {', '.join(larger)}.")
    if strategy["expected_time_s"] is None:
        said.append(f"Time: {strategy['expected_time_note']}")
    return " ".join(said)


def _command(strategy: dict[str, Any], examples: int | None) -> str:
    """What to type; words in capitals are the reader's."""
    words = f"vision train --strategy {strategy['name']}"
    if strategy["method"] is None and strategy["task"] == "classification" and examples in (None, 1):
        return f"{words} --image FILE --label NAME"
    if strategy["method"] == "finetune":
        return " ".join(filter(None, [words, "--dataset FOLDER", _flags(strategy["params"])]))
    return f"{words} --examples FOLDER"


def _flags(params: dict[str, Any]) -> str:
    """`--param processes=4 --param deepspeed=zero2`, as `vision train` takes them."""
    return " ".join(
        f"--param {name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in params.items()
    )
