"""Packs project and wheels for a machine without a network: `python -m benchmarks.gpu.pack --out FOLDER`.

Makes folders `part-1`, `part-2`, ... of bounded size; `install.py` in each of them puts them together there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.install import MANIFEST

ROOT = Path(__file__).resolve().parents[2]
PRESENT = (
    *("torch", "transformers", "accelerate", "peft", "onnxruntime", "scikit-image"),
    *("numpy", "scipy", "pillow", "safetensors", "huggingface-hub", "tokenizers"),
    *("packaging", "pyyaml", "tqdm", "regex", "psutil"),
)
"""What a machine for deep learning has: six that docs/benchmarks.md names, and what these need themselves."""
BUILD = ("setuptools>=80",)
EXTRAS = ("test",)
DEFAULT_PART_MB = 60
PROJECT = "project.tar.gz"
_GLIBC = (*range(39, 23, -1), 17, 12, 5)
"""Minor versions of glibc 2 in the tags of wheels; pip takes exactly those that it is told."""


def closure(requirements: Iterable[str], present: Collection[str], python: str) -> dict[str, dict[str, str]]:
    """Canonical name -> `version` (of this environment) and `specifiers` (of all that need it), for Linux.

    What is `present` there is not followed further and has no version, since it is not packed. Raises
    PackageNotFoundError for a package that this environment lacks.
    """
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.99",  # its newest patch
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, dict[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), frozenset({""})) for text in requirements]
    while todo:
        requirement, extras = todo.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({**environment, "extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        package = found.setdefault(name, {"version": "", "specifiers": ""})
        both = {*filter(None, package["specifiers"].split(",")), *map(str, requirement.specifier)}
        package["specifiers"] = ",".join(sorted(both))
        if name in present:
            continue
        distribution = metadata.distribution(name)
        package["version"] = distribution.version
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = [Requirement(text) for text in distribution.requires or ()]
                todo += [(need, frozenset({extra})) for need in needs]
    return found


def project_requirements() -> list[str]:
    """What pyproject.toml asks for to serve and to test, and to build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *BUILD]


def download(packages: Mapping[str, Mapping[str, str]], python: str, folder: Path) -> None:
    """The wheels of the packages that have a version, for Linux on x86-64."""
    wanted = [
        f"{name}=={package['version']}" for name, package in sorted(packages.items()) if package["version"]
    ]
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in _GLIBC]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    options = ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    tags = [word for platform in platforms for word in ("--platform", platform)]
    subprocess.run([*command, *options, *tags, *wanted], check=True)


def archive_project(path: Path) -> None:
    """The working tree as git sees it: tracked files, and others that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for name in sorted(filter(None, listed.split("\0"))):
            if (ROOT / name).exists():
                archive.add(ROOT / name, arcname=name, recursive=False)


def spread(files: Iterable[Path], out: Path, part_bytes: int) -> list[dict[str, Any]]:
    """Move the files into folders of at most `part_bytes`, cutting those that are larger; what the manifest says.

    Large ones first, each into the first folder that has room.
    """
    free: list[int] = []
    rows = []
    for file in sorted(files, key=lambda file: -file.stat().st_size):
        content = file.read_bytes()
        pieces = [content[at : at + part_bytes] for at in range(0, len(content), part_bytes)] or [b""]
        placed = []
        for number, piece in enumerate(pieces):
            index = next((index for index, room in enumerate(free) if room >= len(piece)), len(free))
            if index == len(free):
                free.append(part_bytes)
                (out / f"part-{index + 1}").mkdir()
            free[index] -= len(piece)
            name = file.name if len(pieces) == 1 else f"{file.name}.{number:02}"
            (out / f"part-{index + 1}" / name).write_bytes(piece)
            placed.append({"part": f"part-{index + 1}", "name": name})
        rows.append({"name": file.name, "sha256": hashlib.sha256(content).hexdigest(), "pieces": placed})
    return rows


def write_parts(
    files: Iterable[Path], out: Path, part_mb: float, python: str, packages: Mapping[str, Mapping[str, str]]
) -> int:
    """Spread the files, with a manifest and `install.py` in each folder; how many folders there are."""
    installer = Path(__file__).with_name("install.py")
    manifest: dict[str, Any] = {"python": python, "project": PROJECT, "packages": packages}
    reserve = 200_000  # for the manifest and install.py
    manifest["files"] = spread(files, out, int(part_mb * 1e6) - reserve)
    parts = sorted(out.glob("part-*"))
    for part in parts:
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        shutil.copyfile(installer, part / installer.name)
    return len(parts)


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--python", default="3.12", help="version of the Python there")
    parser.add_argument(
        "--part-mb", type=float, default=DEFAULT_PART_MB, help="largest folder, in 10^6 bytes"
    )
    parser.add_argument("--has", action="append", default=[], help="another package that the machine has")
    parser.add_argument(
        "--no-project", action="store_true", help="leave the project out: a checkout is there"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    present = {canonicalize_name(name) for name in [*PRESENT, *args.has]}
    packages = closure(project_requirements(), present, args.python)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        download(packages, args.python, folder)
        if not args.no_project:
            archive_project(folder / PROJECT)
        count = write_parts(folder.iterdir(), args.out, args.part_mb, args.python, packages)
    print(f"{count} folders in {args.out}: bring them, then run `python part-1/install.py TARGET` there")


if __name__ == "__main__":
    main()
