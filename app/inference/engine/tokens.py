"""The secret by which processes of one service know each other: a file that only their user can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

TOKEN_FILE = "engine-token"  # noqa: S105 - its name, not its content
_TOKEN_BYTES = 32


def write_token(folder: Path) -> str:
    """A new secret in the private run folder, instead of one that another run left there."""
    path = folder / TOKEN_FILE
    path.unlink(missing_ok=True)
    token = secrets.token_hex(_TOKEN_BYTES)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(token)
    return token


def read_token(folder: Path) -> str:
    """The secret that `write_token` left; raises OSError."""
    return (folder / TOKEN_FILE).read_text(encoding="ascii")
