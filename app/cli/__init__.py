"""The `vision` command: which words it understands and which file answers each."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli import (
    answering,
    augment,
    collections,
    datasets,
    demo,
    fewshot,
    health,
    jobs,
    keys,
    manyshot,
    models,
    oneshot,
    review,
    service,
    storage,
    strategies,
    train,
    words,
)

app = typer.Typer(
    name="vision",
    help="Recognise images, teach new labels, and ask about pictures."
    " Exit codes: 0 done, 1 the service refused, 2 wrong usage, 3 no service, 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(service.serve)
app.command("migrate")(service.migrate)
app.command("ask")(answering.ask)
app.command("caption")(answering.caption)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("review")(review.review)
app.command("feedback")(review.feedback)
app.command("health")(health.health)
app.command("storage")(storage.storage)
app.add_typer(keys.app, name="keys")
app.add_typer(oneshot.app, name="oneshot")
app.add_typer(fewshot.app, name="fewshot")
app.add_typer(collections.app, name="collections")
app.add_typer(models.app, name="models")
app.add_typer(manyshot.app, name="manyshot")
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(strategies.app, name="strategies")
app.add_typer(augment.app, name="augment")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("llamafarm-vision"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before any command."""


def main() -> None:
    """Run the command line of this process; ends it with one of the exit codes of `app.cli.output`."""
    try:
        words.check_words(sys.argv[1:])
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None
    app(prog_name="vision")
