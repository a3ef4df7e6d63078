"""The options that the commands share, each written once, and how flags become settings.

Knows names and help; what they do is in `app.cli.client`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import output

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
Collection = Annotated[str, typer.Option("--collection", "-c", help="Set of labels.")]


def load_settings(**flags: Any) -> Settings:
    """The settings of this process: its environment, overridden by the flags that are not None."""
    from pydantic import ValidationError

    from app.http.wrong_fields import complaint
    from app.settings import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        output.fail(f"setting {'.'.join(map(str, first['loc']))}: {complaint(first)}", output.USAGE)
