"""`vision collections ...`: named sets of labels.

Knows nothing of examples; those are `vision oneshot`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import following, output
from app.cli.client import connect
from app.cli.options import ApiKey, DataDir, Json, Server

app = typer.Typer(help="Named sets of labels.", no_args_is_help=True)
_COUNTS = ("labels", "examples", "answers")
_Name = Annotated[str, typer.Argument(help="Name of the collection.")]


@app.command("list")
def list_collections(
    server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show every collection."""
    with connect(server, api_key, data_dir) as service:
        rows = list(service.pages("/v1/collections"))
    if json:
        output.print_json({"data": rows, "next": None})
        return
    output.print_table(
        ["collection", "encoder", *_COUNTS],
        ([row["name"], row["encoder"], *(str(row.get(one, "")) for one in _COUNTS)] for row in rows),
        empty="There are no collections.",
    )


@app.command()
def create(
    name: _Name,
    encoder: Annotated[str | None, typer.Option(help="Encoder it is bound to.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Create a collection."""
    body = {"name": name} | ({"encoder": encoder} if encoder else {})
    with connect(server, api_key, data_dir) as service:
        made = service.call("POST", "/v1/collections", json=body)
    if json:
        output.print_json(made)
    else:
        output.say(f"Created {made['name']} on {made['encoder']}")


@app.command()
def bind(
    name: _Name,
    encoder: Annotated[str, typer.Option(help="Encoder to bind it to.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the job's events, one line of JSON each.")
    ] = False,
) -> None:
    """Bind a collection to another encoder: all its examples are embedded again, then it changes over."""
    with connect(server, api_key, data_dir) as service:
        job = service.call("PATCH", f"/v1/collections/{quoted(name)}", json={"encoder": encoder})
        ended = following.follow(service, job, json=json)
    following.end(ended, json=json)
    if not json:
        output.say(f"{name} is bound to {encoder}")


@app.command()
def remove(name: _Name, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None) -> None:
    """Remove a collection and every example in it."""
    with connect(server, api_key, data_dir) as service:
        service.call("DELETE", f"/v1/collections/{quoted(name)}")
    output.say(f"Removed {name}")


def quoted(name: str) -> str:
    """`name` as one segment of a path."""
    from urllib.parse import quote

    return quote(name, safe="")
