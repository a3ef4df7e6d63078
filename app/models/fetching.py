"""A trained model's files on their way out of the file store, each checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from app.inference.errors import ModelUnavailableError
from app.storage.files import FileStore


class StoredFile(Protocol):
    """A file of a model: its name, its key in the file store and its digest, in hexadecimal."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def sha256(self) -> str: ...


def fetch_files(store: FileStore, files: Iterable[StoredFile], folder: Path) -> None:
    """Copy the files into the folder; raises ModelUnavailableError where one is missing or not what it was."""
    for file in files:
        target = folder / file.name
        try:
            store.get(file.key, target)
        except FileNotFoundError:
            raise ModelUnavailableError(f"The file '{file.name}' of the model is no longer kept.") from None
        with target.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                raise ModelUnavailableError(f"The file '{file.name}' of the model is damaged.")
