"""`vision collections ...`: named sets of labels."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.cli import following, health, output
from app.cli.client import drop_none, quoted
from app.cli.options import Json, Lines
from app.cli.session import Session, pass_session

app = typer.Typer(help="Named sets of labels.", no_args_is_help=True)
app.command("health")(health.health)
_Name = Annotated[str, typer.Argument(help="Name of the collection.")]
_SHARES = {"equal": "equal shares", "examples": "the shares of their examples"}


class LabelShares(StrEnum):
    """How often each label is expected."""

    EQUAL = "equal"
    EXAMPLES = "examples"


_LabelShares = Annotated[
    LabelShares,
    typer.Option(
        help="How often each label is expected: all alike, or as often as there are examples of it."
    ),
]


@app.command("list")
@pass_session(Json)
def list_collections(session: Session) -> None:
    """Show every collection."""
    counts = {count: count for count in ("labels", "examples", "answers")}
    shares = {"label shares": "label_shares"}
    session.print_all(
        "/v1/collections",
        {"collection": "name", "encoder": "encoder", **shares, **counts},
        empty="There are no collections.",
    )


@app.command()
@pass_session(Json)
def create(
    session: Session,
    name: _Name,
    encoder: Annotated[str | None, typer.Option(help="Encoder it is bound to.")] = None,
    label_shares: _LabelShares = LabelShares.EQUAL,
) -> None:
    """Create a collection."""
    body = drop_none(name=name, encoder=encoder or None, label_shares=label_shares.value)
    made = session.service.call("POST", "/v1/collections", json=body)
    session.print_result(made, f"Created {made['name']} on {made['encoder']}")


@app.command()
@pass_session(Lines)
def bind(
    session: Session, name: _Name, encoder: Annotated[str, typer.Option(help="Encoder to bind it to.")]
) -> None:
    """Bind a collection to another encoder: all its examples are embedded again, then it changes over."""
    job = session.service.call("PATCH", f"/v1/collections/{quoted(name)}", json={"encoder": encoder})
    following.follow(session, job)
    session.say(f"{name} is bound to {encoder}")


@app.command("set")
@pass_session(Json)
def set_property(session: Session, name: _Name, label_shares: _LabelShares) -> None:
    """Say how often a collection's labels are expected; it holds from the next answer on."""
    body = {"label_shares": label_shares.value}
    changed = session.service.call("PATCH", f"/v1/collections/{quoted(name)}", json=body)
    session.print_result(changed, f"{name} expects its labels by {_SHARES[changed['label_shares']]}")


@app.command()
@pass_session()
def remove(session: Session, name: _Name) -> None:
    """Remove a collection and every example in it."""
    session.service.call("DELETE", f"/v1/collections/{quoted(name)}")
    output.say(f"Removed {name}")
