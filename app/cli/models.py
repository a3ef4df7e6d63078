"""`vision models ...`: what the service can recognise with.

Knows nothing of how models run.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, DataDir, Json, Server

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
        columns,
        ([_text(row.get(column)) for column in columns] for row in rows),
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
        output.print_table(["", ""], ([name, _text(value)] for name, value in found.items()), empty="")


def _text(value: Any) -> str:
    """A value as a person reads it."""
    match value:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
        case _:
            return str(value)
