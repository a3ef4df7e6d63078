"""The options that the commands share, each written once, and how flags become settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import output
from app.folders.layout import LabelsFrom, OwnSplit

if TYPE_CHECKING:
    from app.settings import Settings

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="VISION_SERVER",
        help="Address of the service. Without it: the running service of the data folder, else one on"
        " http://127.0.0.1:8000, else one is started for this command.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="VISION_API_KEY", help="API key to send.", show_envvar=True),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="VISION_DATA_DIR", help="Data folder of the service to find or start."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the service's JSON and nothing else.")]
Lines = Annotated[bool, typer.Option("--json", help="Print the job's events, one line of JSON each.")]
Limit = Annotated[int, typer.Option(min=1, help="Most rows.")]
Collection = Annotated[str, typer.Option("--collection", "-c", help="Set of labels.")]
Images = Annotated[
    list[Path], typer.Option("--image", exists=True, help="Image or folder of images; repeat for several.")
]
Split = Annotated[str, typer.Option(help="Shares of train, validation and test.")]
SplitSeed = Annotated[int, typer.Option("--seed", min=0, help="Of the split.")]
LabelsFromOption = Annotated[
    LabelsFrom,
    typer.Option(
        "--labels-from",
        help="Which folder around an image is its label: the first (top) or the last (parent) below those around"
        " everything; auto refuses what could mean both.",
    ),
]
OwnSplitOption = Annotated[
    OwnSplit,
    typer.Option(
        "--own-split", help="A split that the data brings (train, test, ... folders): keep or ignore it."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is in the output folder.")]

# of everything that trains
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A hyper-parameter, such as steps=200; repeat."),
]
Question = Annotated[
    str | None,
    typer.Option(
        help="What a vision-language model that learns labels is asked about every image; without it: What is this?"
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed on the same machine gives the same model.")]
ModelName = Annotated[str | None, typer.Option("--name", help="What the model shall be called.")]
Detach = Annotated[bool, typer.Option("--detach", help="Ask for the job and do not wait for it.")]


def load_settings(**flags: Any) -> Settings:
    """The settings of this process: its environment, overridden by the flags that are not None."""
    from pydantic import ValidationError

    from app.http.wrong_fields import complaint
    from app.settings import Settings

    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        output.fail(f"setting {'.'.join(map(str, first['loc']))}: {complaint(first)}", output.USAGE)
    folder = settings.server.data_dir.expanduser()
    if os.path.lexists(folder) and not folder.is_dir():
        output.fail(
            f"{folder} is a file: name a folder for the service's data with --data-dir or VISION_DATA_DIR",
            output.USAGE,
        )
    return settings


def parse_params(given: list[str] | None, question: str | None = None) -> dict[str, Any]:
    """`key=value` pairs as an object; a value that is JSON counts as such, dots in a key lead into objects. A
    `question`, which has a flag of its own, is one of them.
    """
    values: dict[str, Any] = {} if question is None else {"question": question}
    for pair in given or []:
        key, equals, text = pair.partition("=")
        *path, last = key.strip().split(".")
        if not equals or not last or not all(path):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--param")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{part!r} has a value already", param_hint="--param")
        try:
            place[last] = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            place[last] = text
        except RecursionError:
            raise typer.BadParameter(f"{key} is nested too deeply", param_hint="--param") from None
    return values


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's: the service is to see the word."""
    raise ValueError(name)
