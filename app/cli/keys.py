"""`vision keys ...`: who may call the service.

Knows nothing of how keys are made or kept; a key is shown once, when it is created.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, DataDir, Json, Server

app = typer.Typer(help="API keys of the service.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: recognise, learn, train or admin; repeat for several."
            " Without it: recognise and learn."
        ),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Workspace it belongs to, made if new.")] = None,
    expires_days: Annotated[int | None, typer.Option(min=1, help="Days until it ends.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Create a key and show it, this once."""
    wanted = {"name": name, "scopes": scope, "workspace": workspace, "expires_in_days": expires_days}
    body = {word: value for word, value in wanted.items() if value is not None}
    with connect(server, api_key, data_dir) as service:
        made = service.call("POST", "/v1/keys", json=body)
    if json:
        output.print_json(made)
    else:
        output.out.print(made["key"], soft_wrap=True)
        output.say(f"Key {made['id']} for {name}; it is not shown again")


@app.command("list")
def list_keys(
    server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show every key, never its secret."""
    with connect(server, api_key, data_dir) as service:
        rows = list(service.pages("/v1/keys"))
    if json:
        output.print_json({"data": rows, "next": None})
        return
    output.print_table(
        ["id", "name", "begins with", "workspace", "scopes", "expires"],
        (
            [
                r["id"],
                r["name"],
                r["hint"],
                r["workspace"],
                ", ".join(r["scopes"]),
                str(r["expires_at"] or "never")[:10],
            ]
            for r in rows
        ),
        empty="There are no keys.",
    )


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id, as `vision keys list` shows it.")],
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key; it stops working at once."""
    with connect(server, api_key, data_dir) as service:
        service.call("DELETE", f"/v1/keys/{quoted(key)}")
    output.say(f"Revoked {key}")
