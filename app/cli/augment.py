"""`vision augment ...`: see what training would show a model instead of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import output
from app.cli.client import form_fields
from app.cli.files import check_regular
from app.cli.session import Session, pass_session

app = typer.Typer(help="Changed copies of examples, as training sees them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Changed copies of examples, as training sees them."""


@app.command()
@pass_session()
def preview(
    session: Session,
    image: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, callback=check_regular, help="Image to change.")
    ],
    to: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Where to write the sheet, a PNG.")
    ],
    count: Annotated[int | None, typer.Option(min=1, help="Changed copies.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same sheet.")] = 0,
    rotation: Annotated[float | None, typer.Option(help="Largest turn to either side, in degrees.")] = None,
    brightness: Annotated[
        float | None, typer.Option(help="Largest change of brightness and contrast, as a share.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Largest deviation of the noise, as a share.")] = None,
    crop: Annotated[
        float | None, typer.Option(help="Largest share of the area that a crop leaves out.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror every other copy left to right.")] = False,
) -> None:
    """Write a sheet with the image and changed copies of it."""
    form = form_fields(
        count=count,
        seed=seed,
        rotation=rotation,
        brightness=brightness,
        noise=noise,
        crop=crop,
        flip=flip or None,
    )
    service = session.service
    try:
        service.save("/v1/augment", to, form=form, image=image)
    except OSError as error:
        output.fail(f"{error.filename or to}: {error.strerror or error}", output.REFUSED)
    output.say(f"Wrote {to}")
