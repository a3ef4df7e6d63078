"""Installs what `python -m benchmarks.gpu.pack` packed, without a network: `python part-1/install.py TARGET`.

Runs by itself from any part, with nothing but the standard library and pip. The interpreter that runs it keeps its own
packages: where it has a version that serves, nothing is installed in its place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 20


class InstallError(Exception):
    """Something that stops the installation, in a sentence."""


def keep(parts: list[Path], store: Path) -> list[str]:
    """Copy the parts' pieces into `store`; the folders of the manifest that were never brought here."""
    store.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if not (part / MANIFEST).is_file():
            raise InstallError(f"{part} is no packed part: it has no {MANIFEST}.")
        for file in part.iterdir():
            if file.is_file():
                shutil.copyfile(file, store / file.name)
    pieces = [piece for file in read_manifest(store)["files"] for piece in file["pieces"]]
    return sorted({piece["part"] for piece in pieces if not (store / piece["name"]).is_file()})


def read_manifest(folder: Path) -> dict[str, Any]:
    """What was packed."""
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def join(store: Path) -> None:
    """Put files together that were cut into pieces; raises InstallError where one is not what was packed."""
    for file in read_manifest(store)["files"]:
        path = store / file["name"]
        if len(file["pieces"]) > 1:
            with path.open("wb") as sink:
                for piece in file["pieces"]:
                    sink.write((store / piece["name"]).read_bytes())
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
        if digest.hexdigest() != file["sha256"]:
            raise InstallError(f"{file['name']} is not what was packed: bring its parts again.")


def make_environment(folder: Path) -> Path:
    """A virtual environment that also sees all packages of this interpreter; its Python.

    `--system-site-packages` would not do: where this interpreter is itself one of a virtual environment, the new one
    would see that one's base.
    """
    command = [sys.executable, "-m", "venv", "--without-pip", "--clear", str(folder)]
    subprocess.run(command, check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    outside = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *packages]
    Path(site, "zz_machine.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(outside)))
    return python


def satisfies(version: str | None, specifiers: str) -> bool:
    """Whether an installed version is one that everything packed can work with."""
    from pip._vendor.packaging.specifiers import SpecifierSet

    return version is not None and SpecifierSet(specifiers, prereleases=True).contains(version)


def find_installed_version(name: str) -> str | None:
    """The version that this interpreter has."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def choose(packages: dict[str, dict[str, str]]) -> tuple[list[str], list[str]]:
    """(requirements to install, sentences about packages that the machine keeps or lacks).

    A package without a version was not packed, since such machines have it: one that lacks it cannot be helped.
    """
    wanted, notes = [], []
    for name, package in sorted(packages.items()):
        have = find_installed_version(name)
        if satisfies(have, package["specifiers"]):
            notes.append(f"kept {name} {have}")
        elif package.get("version"):
            wanted.append(f"{name}=={package['version']}")
        else:
            state = f"has {have}" if have else "does not have it"
            notes.append(
                f"MISSING {name}{package['specifiers']}: it was not packed, and this machine {state}"
            )
    return wanted, notes


def pip_install(python: Path, store: Path, *words: str) -> None:
    """Into the environment, from the packed files alone."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--no-compile", "--ignore-installed", "--disable-pip-version-check"]
    # a constraints file or an index of this machine's own configuration has no say
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment = clean | {"PIP_CONFIG_FILE": os.devnull}
    subprocess.run([*command, *options, "--find-links", str(store), *words], check=True, env=environment)


def install(target: Path, store: Path, project: Path | None) -> list[str]:
    """Make the environment and put everything into it; the packages that are missing afterwards."""
    manifest = read_manifest(store)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != manifest["python"]:
        raise InstallError(f"This was packed for Python {manifest['python']}; {sys.executable} is {here}.")
    join(store)
    wanted, notes = choose(manifest["packages"])
    python = make_environment(target / "venv")
    print(f"{len(wanted)} packages are installed: {' '.join(wanted)}")
    pip_install(python, store, *wanted)
    if project is None:
        project = target / "project"
        shutil.rmtree(project, ignore_errors=True)
        with tarfile.open(store / manifest["project"]) as archive:
            archive.extractall(project, filter="data")
    pip_install(python, store, "--no-build-isolation", "--editable", str(project))
    print("\n".join(notes))
    print(f"ready: cd {project} && {python} -m benchmarks.gpu")
    return [note for note in notes if note.startswith("MISSING")]


def main() -> int:
    """0 when everything is installed, or when parts are still to come; 1 when something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path, help="folder for the environment and the project")
    parser.add_argument(
        "parts", type=Path, nargs="*", help="packed folders; the ones beside this file, if none"
    )
    parser.add_argument("--project", type=Path, help="a checkout to use instead of the packed project")
    args = parser.parse_args()
    own = Path(__file__).resolve().parent
    store = args.target.resolve() / "packed"
    try:
        absent = keep(args.parts or sorted(own.parent.glob("part-*")), store)
        if absent:
            print(f"kept; still to come: {', '.join(absent)}")
            return 0
        return 1 if install(args.target.resolve(), store, args.project and args.project.resolve()) else 0
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
