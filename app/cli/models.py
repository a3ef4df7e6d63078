"""`vision models ...`: what the service can recognise with; trained ones are shown, saved, brought and removed.

Knows nothing of how models run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import model_folders, output, saving
from app.cli.client import connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, DataDir, Json, Server

_WITHIN = ("trained", "optimisation", "metrics")

app = typer.Typer(help="The models the service knows.", no_args_is_help=True)


@app.command("list")
def list_models(
    server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show every model."""
    with connect(server, api_key, data_dir) as service:
        rows = list(service.pages("/v1/models"))
    if json:
        output.print_json({"data": rows, "next": None})
        return
    columns = ["id", "kind", "family", "default", "loaded", "dim", "runtime"]
    output.print_table(
        [*columns, "trained by", "on"],
        ([*(_text(row.get(column)) for column in columns), *_training(row)] for row in rows),
        empty="There are no models.",
    )


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Id of the model.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show everything about one model."""
    with connect(server, api_key, data_dir) as service:
        found = service.call("GET", f"/v1/models/{quoted(model)}", again=True)
    if json:
        output.print_json(found)
    else:
        output.print_table(["", ""], _facts(found), empty="")


@app.command()
def remove(
    model: Annotated[str, typer.Argument(help="Id of a trained model.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Forget a trained model and its files."""
    with connect(server, api_key, data_dir) as service:
        service.call("DELETE", f"/v1/models/{quoted(model)}", again=True)
    output.say(f"Removed {model}")


@app.command()
def download(
    model: Annotated[str, typer.Argument(help="Id of a trained model.")],
    output_dir: Annotated[Path, typer.Option(help="Save its files in this folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Save a trained model's files; the folder works as --model, here and elsewhere."""
    saving.check_free(output_dir, force=force)
    with connect(server, api_key, data_dir) as service:
        files = service.call("GET", f"/v1/models/{quoted(model)}/artifacts", again=True)["data"]
        if not files:
            output.fail(f"{model} comes with the service: there are no files of it to save", output.REFUSED)
        saving.save_files(service, files, output_dir, force=force, model=model)


@app.command("upload")
def upload_model(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a trained model.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Bring a model that was trained elsewhere."""
    model_folders.noted_id(folder)
    with connect(server, api_key, data_dir) as service:
        made = model_folders.upload(service, folder)
    if json:
        output.print_json(made)
    else:
        output.say(f"The service has the model '{made['id']}' now")


def _facts(found: dict[str, Any]) -> list[list[str]]:
    """What there is to say, and of a trained model how it came about, each on a line of its own."""
    rows = []
    for name, value in found.items():
        if name in _WITHIN and isinstance(value, dict):
            rows += _facts(value)
        elif value not in (None, [], {}):
            rows.append([name.replace("_", " "), _text(value)])
    return rows


def _training(row: dict[str, Any]) -> list[str]:
    trained = row.get("trained") or {}
    return [str(trained.get("method", "")), str((trained.get("data") or {}).get("source", ""))]


def _text(value: Any) -> str:
    """A value as a person reads it."""
    match value:
        case None | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
        case _:
            return str(value)
