"""`vision strategies ...`: ways to learn, and which of them fit.

Knows how strategies are shown; what fits is for the service to say.
"""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from app.cli import output, recommended
from app.cli.client import connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, DataDir, Json, Server

app = typer.Typer(help="Ways to learn: what there is and what fits.", no_args_is_help=True)

_AUTO = "auto"
_CALLED = {_AUTO: "The service's machine"}


@app.command("list")
def list_strategies(
    server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show every strategy."""
    with connect(server, api_key, data_dir) as service:
        found = service.call("GET", "/v1/strategies", again=True)
    if json:
        output.print_json(found)
        return
    output.print_table(
        ["name", "learns", "task", "model", "method", "examples"],
        (
            [
                one["name"] + (" (yours)" if one["own"] else ""),
                _learns(one),
                one["task"],
                _model(one["model"]),
                one["method"] or "-",
                _samples(one["samples"]),
            ]
            for one in found["data"]
        ),
        empty="There are no strategies.",
    )
    for one in found["refused"]:
        output.say(f"Refused: {one['reason']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or alias of the strategy.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show everything about one strategy."""
    with connect(server, api_key, data_dir) as service:
        found = service.call("GET", f"/v1/strategies/{quoted(name)}", again=True)
    if json:
        output.print_json(found)
    else:
        output.print_table(["", ""], _described(found), empty="")


@app.command()
def recommend(
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
        float | None, typer.Option(min=0, help="Instead of --hardware: memory of each GPU.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Instead of --hardware: number of GPUs.")] = None,
    cpu_memory_gb: Annotated[
        float | None, typer.Option(min=0, help="Instead of --hardware: memory of the machine.")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Instead of --hardware: CPU cores.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Say which strategies fit, best first, and why the others do not."""
    numbers = _given(gpu_memory_gb=gpu_memory_gb, gpus=gpus, cpu_memory_gb=cpu_memory_gb, cores=cores)
    if numbers and hardware != _AUTO:
        raise typer.BadParameter("give a machine's name or its numbers, not both", param_hint="--hardware")
    wanted = _given(
        learning_type=learning_type and learning_type.replace("-", "_"), dataset_size=dataset_size, task=task
    )
    with connect(server, api_key, data_dir) as service:
        found = service.call(
            "POST", "/v1/strategies/recommend", again=True, json={**wanted, "hardware": numbers or hardware}
        )
    if json:
        output.print_json(found)
        return
    recommended.show(found, "These figures" if numbers else _CALLED.get(hardware, hardware), dataset_size)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _described(one: dict[str, Any]) -> list[list[str]]:
    needs, samples = one["hardware"], one["samples"]
    rows = [
        ("name", one["name"] + (" (yours)" if one["own"] else "")),
        ("aliases", ", ".join(one["aliases"])),
        ("description", one["description"]),
        ("learns", _learns(one)),
        ("task", one["task"]),
        ("model", _model(one["model"])),
        ("model type", one["model_type"]),
        ("base models", ", ".join(one["base_models"])),
        ("here", one["here"]),
        *(("larger model", _larger(larger)) for larger in one["model"]["larger"]),
        ("method", one["method"] or "nothing is trained"),
        ("settings", _settings(one["params"])),
        (
            "defaults",
            _settings({name: value for name, value in one["defaults"].items() if value is not None}),
        ),
        ("left open", ", ".join(name for name, value in one["defaults"].items() if value is None)),
        ("examples", f"{_samples(samples)}, meant for about {samples['best']:,}"),
        ("GPU memory", "no GPU needed" if not needs["gpu_memory_gb"] else f"{needs['gpu_memory_gb']:g} GB"),
        ("CPU memory", f"{needs['cpu_memory_gb']:g} GB"),
        ("CPU cores", "" if needs["cpu_cores"] == 1 else str(needs["cpu_cores"])),
        ("time", recommended.time_said(needs["expected_time_s"], needs["expected_examples"])),
        ("training time", _hours(needs["training_time_hours"])),
        ("inference time", f"{needs['inference_time_ms']:g} ms" if needs["inference_time_ms"] else ""),
        ("note", needs["note"] or ""),
        ("first up to", _first_up_to(one["as_good_as_training"])),
        *(("strength", text) for text in one["strengths"]),
        *(("use case", text) for text in one["use_cases"]),
    ]
    return [[name, text] for name, text in rows if text]


def _learns(one: dict[str, Any]) -> str:
    return ", ".join(word.replace("_", "-") for word in one["learning_types"])


def _model(model: dict[str, Any]) -> str:
    """`clip`, `blip-shapes-vqa`, `any encoder`."""
    family = f"any {model['kind']}" if model["family"] == "default" else model["family"]
    return family if model["checkpoint"] == "default" else str(model["checkpoint"])


def _larger(one: dict[str, Any]) -> str:
    gpu = f"{one['gpu_memory_gb']:g} GB of GPU memory, " if one["gpu_memory_gb"] else ""
    return f"{one['checkpoint']} ({gpu}{one['cpu_memory_gb']:g} GB of memory)"


def _samples(samples: dict[str, Any]) -> str:
    return f"{samples['min']:,}-{samples['max']:,}" if samples["max"] else f"from {samples['min']:,}"


def _settings(values: dict[str, Any]) -> str:
    """As --param takes them."""
    return ", ".join(f"{name}={json_module.dumps(value)}" for name, value in values.items())


def _hours(hours: list[float] | None) -> str:
    if hours is None:
        return ""
    least, most = hours
    return f"{least:g} h" if least == most else f"{least:g}-{most:g} h"


def _first_up_to(found: dict[str, Any] | None) -> str:
    return f"{found['up_to_examples']:,} examples: {found['says']}" if found else ""
