"""What `vision serve` says on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console
from rich.markup import escape

from app import __version__
from app.access.policy import needs_key
from app.settings import Settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(console: Console, text: str) -> None:
    """Print; a terminal that went away is no reason to stop serving."""
    with suppress(OSError):
        console.print(text)


def plain(value: object) -> str:
    """A value's text, with what rich would take for markup escaped."""
    return escape(str(value))


def say_listening(settings: Settings, url: str, processes: str = "") -> None:
    """Where the service listens; what is asked there before the model is live waits for it."""
    say(out, f"Listening on {url}{processes}, loading the model '{plain(settings.models.encoder)}'")


def say_ready(settings: Settings, url: str, models: Iterable[str]) -> None:
    """What the service serves, and how to ask it."""
    key = ' -H "Authorization: Bearer $VISION_API_KEY"' if needs_key(settings) else ""
    say(
        out,
        f"""
[bold]llamafarm-vision {__version__}[/] recognises images and learns new ones
  serves    {url} (open it in a browser)   docs {url}/docs
  models    {plain(", ".join(models))}
  data      {plain(settings.server.data_dir)}
  try       vision oneshot classify --image photo.jpg --labels cat,dog --server {url}
            curl{key} -F image=@photo.jpg -F labels=cat,dog {url}/v1/classify
Ctrl-C stops it""",
    )


def say_not_loaded(settings: Settings, reason: object) -> None:
    """That the default model is not there; the service goes on with others."""
    say(
        err,
        f"[bold red]The model '{plain(settings.models.encoder)}' could not be loaded:[/] {plain(reason)}",
    )
