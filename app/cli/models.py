"""`vision models ...`: what the service can recognise with; trained ones are shown, saved, uploaded and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import figures, model_folders, output, saving
from app.cli.client import quoted
from app.cli.options import Json
from app.cli.session import Session, pass_session

_WITHIN = ("trained", "optimisation", "metrics")

app = typer.Typer(help="The models the service knows.", no_args_is_help=True)
_Trained = Annotated[str, typer.Argument(help="Id of a trained model.")]


@app.command("list")
@pass_session(Json)
def list_models(session: Session) -> None:
    """Show every model."""
    rows = [model for model in session.service.get("/v1/models")["data"] if not model.get("alias_of")]
    session.print_rows(
        {"data": rows, "next": None},
        {
            **{
                name: _text_of(name)
                for name in ("id", "kind", "family", "default", "loaded", "dim", "runtime")
            },
            "trained by": lambda model: str((model.get("trained") or {}).get("method", "")),
            "on": lambda model: str(((model.get("trained") or {}).get("data") or {}).get("source", "")),
        },
        empty="There are no models.",
    )


@app.command()
@pass_session(Json)
def show(session: Session, model: Annotated[str, typer.Argument(help="Id of the model.")]) -> None:
    """Show everything about one model."""
    found = session.service.get(f"/v1/models/{quoted(model)}")
    session.print_result(found, _print_model)


@app.command()
@pass_session()
def remove(session: Session, model: _Trained) -> None:
    """Forget a trained model and its files."""
    session.service.call("DELETE", f"/v1/models/{quoted(model)}", again=True)
    output.say(f"Removed {model}")


@app.command()
@pass_session()
def download(
    session: Session,
    model: _Trained,
    output_dir: Annotated[Path, typer.Option(help="Save its files in this folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
) -> None:
    """Save a trained model's files; the folder works as --model, here and elsewhere."""
    saving.check_free(output_dir, force=force)
    files = session.service.get(f"/v1/models/{quoted(model)}/artifacts")["data"]
    if not files:
        output.fail(f"{model} comes with the service: there are no files of it to save", output.REFUSED)
    saving.save_files(session.service, files, output_dir, force=force, model=model)


@app.command("upload")
@pass_session(Json)
def upload_model(
    session: Session,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a trained model.")],
) -> None:
    """Upload a model that was trained elsewhere.

    What was made of it since (exports, evaluations) is left out.
    """
    model_folders.read_noted_id(folder)
    made = model_folders.upload(session.service, folder)
    session.print_result(made, f"The service has the model '{made['id']}' now")


def _print_model(found: dict[str, Any]) -> None:
    trained = found.get("trained") or {}
    comparison = trained.pop("comparison", None)
    output.print_facts(_facts(found))
    figures.show_comparison(comparison)


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is to say, and of a trained model how it came about, each on a line of its own."""
    facts = []
    for name, value in found.items():
        if name in _WITHIN and isinstance(value, dict):
            facts += _facts(value)
        elif value not in (None, [], {}):
            facts.append((name.replace("_", " "), _text(value)))
    return facts


def _text_of(field: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: _text(row.get(field))


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
