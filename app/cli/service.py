"""`vision serve` and `vision migrate`: the two commands that are the service instead of calling it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from app.cli import output
from app.cli.options import load_settings

_DataDir = Annotated[Path | None, typer.Option(help="Folder for databases, images, caches and secrets.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = None,
    data_dir: _DataDir = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Serve beyond loopback without keys.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Default encoder: family, hub id or folder.")] = None,
    vlm: Annotated[
        str | None, typer.Option(help="Default model for questions: name, hub id or folder.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps (unproven).")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve until Ctrl-C; every other setting is an environment variable (docs/settings.md)."""
    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "no_auth": no_auth or None,
        "encoder": encoder,
        "vlm": vlm,
        "device": device,
        "log_level": log_level,
    }
    settings = load_settings(**flags)
    # Several threads of OpenBLAS spin for the cores that the models need: fitting a head took 2 to 12 s instead of
    # 0.4 s. It is read when numpy is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from app.runtime.serve import serve as run

    raise typer.Exit(run(settings))


def migrate(
    database_url: Annotated[
        str | None, typer.Option(help="postgresql://...; without it VISION_DATABASE_URL or the embedded one.")
    ] = None,
    data_dir: _DataDir = None,
) -> None:
    """Bring the database's tables up to date."""
    settings = load_settings(database_url=database_url, data_dir=data_dir)
    from app.embedded import EmbeddedError, EmbeddedServers
    from app.errors import VisionError
    from app.storage.database import migrate as run

    servers = EmbeddedServers(
        settings.server.data_dir,
        database_url=settings.server.database_url,
        redis_url=settings.server.redis_url or "redis://unused",
    )
    try:
        with servers as addresses:
            applied = run(addresses.database_url)
    except (EmbeddedError, VisionError) as error:
        output.fail(str(error), output.REFUSED)
    for revision in applied:
        output.out.print(revision)
    output.say(f"{len(applied)} migrations applied" if applied else "The database is up to date")
