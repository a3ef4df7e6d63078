"""`vision strategies ...`: ways to learn, and which of them fit."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app.cli import output, recommended
from app.cli.client import drop_none, quoted
from app.cli.options import Json
from app.cli.session import Session, pass_session

app = typer.Typer(help="Ways to learn: what there is and what fits.", no_args_is_help=True)

_AUTO = "auto"
_MAX_GB = 1_000_000
_CALLED = {_AUTO: "The service's machine"}


@app.command("list")
@pass_session(Json)
def list_strategies(session: Session) -> None:
    """Show every strategy."""
    found = session.service.get("/v1/strategies")
    session.print_rows(
        found,
        {
            "name": _name,
            "learns": _learns,
            "task": "task",
            "model": lambda strategy: _model(strategy["model"]),
            "method": lambda strategy: strategy["method"] or "-",
            "examples": lambda strategy: _samples(strategy["samples"]),
        },
        empty="There are no strategies.",
    )
    for refused in found["refused"]:
        session.say(f"Refused: {refused['reason']}")


@app.command()
@pass_session(Json)
def show(
    session: Session, name: Annotated[str, typer.Argument(help="Name or alias of the strategy.")]
) -> None:
    """Show everything about one strategy."""
    found = session.service.get(f"/v1/strategies/{quoted(name)}")
    session.print_result(found, lambda found: output.print_facts(_facts(found)))


@app.command()
@pass_session(Json)
def recommend(
    session: Session,
    learning_type: Annotated[
        str | None, typer.Option(help="one_shot, few_shot or many_shot; any without it.")
    ] = None,
    dataset_size: Annotated[
        int | None, typer.Option(min=1, help="Examples there are, all labels together.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification, vqa or caption; any without it.")] = None,
    hardware: Annotated[
        str,
        typer.Option(
            help="auto: the service's machine; or a machine's name, such as mac_m2, a100_80gb or 4x_a100_40gb."
        ),
    ] = _AUTO,
    gpu_memory_gb: Annotated[
        float | None, typer.Option(min=0, max=_MAX_GB, help="Instead of --hardware: memory of each GPU.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Instead of --hardware: number of GPUs.")] = None,
    cpu_memory_gb: Annotated[
        float | None, typer.Option(min=0, max=_MAX_GB, help="Instead of --hardware: memory of the machine.")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Instead of --hardware: CPU cores.")] = None,
) -> None:
    """Say which strategies fit, best first, and why the others do not."""
    numbers = drop_none(gpu_memory_gb=gpu_memory_gb, gpus=gpus, cpu_memory_gb=cpu_memory_gb, cores=cores)
    if numbers and hardware != _AUTO:
        raise typer.BadParameter("give a machine's name or its numbers, not both", param_hint="--hardware")
    body = drop_none(
        learning_type=learning_type and learning_type.replace("-", "_"),
        dataset_size=dataset_size,
        task=task,
        hardware=numbers or hardware,
    )
    machine = "These figures" if numbers else _CALLED.get(hardware, hardware)
    session.print_result(
        session.service.call("POST", "/v1/strategies/recommend", again=True, json=body),
        lambda found: recommended.show(found, machine, dataset_size),
    )


def _facts(strategy: dict[str, Any]) -> list[tuple[str, str]]:
    needs, samples = strategy["hardware"], strategy["samples"]
    return [
        ("name", _name(strategy)),
        ("aliases", ", ".join(strategy["aliases"])),
        ("description", strategy["description"]),
        ("learns", _learns(strategy)),
        ("task", strategy["task"]),
        ("model", _model(strategy["model"])),
        ("model type", strategy["model_type"]),
        ("base models", ", ".join(strategy["base_models"])),
        ("here", strategy["here"]),
        *(("larger model", _format_larger(larger)) for larger in strategy["model"]["larger"]),
        ("method", strategy["method"] or "nothing is trained"),
        ("settings", _settings(strategy["params"])),
        ("defaults", _settings(drop_none(**strategy["defaults"]))),
        ("left open", ", ".join(name for name, value in strategy["defaults"].items() if value is None)),
        ("examples", f"{_samples(samples)}, meant for about {samples['best']:,}"),
        ("GPU memory", "no GPU needed" if not needs["gpu_memory_gb"] else f"{needs['gpu_memory_gb']:g} GB"),
        ("CPU memory", f"{needs['cpu_memory_gb']:g} GB"),
        ("CPU cores", "" if needs["cpu_cores"] == 1 else str(needs["cpu_cores"])),
        ("time", recommended.format_learning_time(needs["expected_time_s"], needs["expected_examples"])),
        ("training time", _hours(needs["training_time_hours"])),
        ("inference time", f"{needs['inference_time_ms']:g} ms" if needs["inference_time_ms"] else ""),
        ("note", needs["note"] or ""),
        ("first up to", _first_up_to(strategy["as_good_as_training"])),
        *(("strength", text) for text in strategy["strengths"]),
        *(("use case", text) for text in strategy["use_cases"]),
    ]


def _name(strategy: dict[str, Any]) -> str:
    return str(strategy["name"]) + (" (yours)" if strategy["own"] else "")


def _learns(strategy: dict[str, Any]) -> str:
    return ", ".join(word.replace("_", "-") for word in strategy["learning_types"])


def _model(model: dict[str, Any]) -> str:
    """`clip`, `blip-shapes-vqa`, `any encoder`."""
    family = f"any {model['kind']}" if model["family"] == "default" else model["family"]
    return family if model["checkpoint"] == "default" else str(model["checkpoint"])


def _format_larger(strategy: dict[str, Any]) -> str:
    gpu = f"{strategy['gpu_memory_gb']:g} GB of GPU memory, " if strategy["gpu_memory_gb"] else ""
    return f"{strategy['checkpoint']} ({gpu}{strategy['cpu_memory_gb']:g} GB of memory)"


def _samples(samples: dict[str, Any]) -> str:
    return f"{samples['min']:,}-{samples['max']:,}" if samples["max"] else f"from {samples['min']:,}"


def _settings(values: dict[str, Any]) -> str:
    """The settings as --param takes them."""
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())


def _hours(hours: list[float] | None) -> str:
    if hours is None:
        return ""
    least, most = hours
    return f"{least:g} h" if least == most else f"{least:g}-{most:g} h"


def _first_up_to(found: dict[str, Any] | None) -> str:
    return f"{found['up_to_examples']:,} examples: {found['says']}" if found else ""
