"""`vision keys ...`: who may call the service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import drop_none, quoted
from app.cli.options import Json
from app.cli.session import Session, pass_session

app = typer.Typer(help="API keys of the service.", no_args_is_help=True)


@app.command()
@pass_session(Json)
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: recognise, learn, train, metrics or admin; repeat for several."
            " Without it: recognise and learn."
        ),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Workspace it belongs to, made if new.")] = None,
    expires_days: Annotated[int | None, typer.Option(min=1, help="Days until it ends.")] = None,
) -> None:
    """Create a key and show it, this once."""
    body = drop_none(name=name, scopes=scope, workspace=workspace, expires_in_days=expires_days)
    session.print_result(session.service.call("POST", "/v1/keys", json=body), _print_key)


@app.command("list")
@pass_session(Json)
def list_keys(session: Session) -> None:
    """Show every key, never its secret."""
    session.print_all(
        "/v1/keys",
        {
            "id": "id",
            "name": "name",
            "begins with": "hint",
            "workspace": "workspace",
            "scopes": lambda key: ", ".join(key["scopes"]),
            "expires": lambda key: str(key["expires_at"] or "never")[:10],
        },
        empty="There are no keys.",
    )


@app.command()
@pass_session(Json)
def access(session: Session) -> None:
    """Show what this key allows, or what is allowed without one."""
    session.print_result(session.service.call("GET", "/v1/access"), _print_access)


@app.command()
@pass_session()
def revoke(
    session: Session, key: Annotated[str, typer.Argument(help="Id, as `vision keys list` shows it.")]
) -> None:
    """Revoke a key; it stops working at once."""
    session.service.call("DELETE", f"/v1/keys/{quoted(key)}")
    output.say(f"Revoked {key}")


def _print_key(made: dict[str, Any]) -> None:
    output.out.print(made["key"], soft_wrap=True)
    output.say(f"Key {made['id']} for {made['name']}; it is not shown again")


def _print_access(found: dict[str, Any]) -> None:
    output.out.print(f"{', '.join(found['scopes'])} in the workspace {found['workspace']}", soft_wrap=True)
