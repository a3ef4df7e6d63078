"""Checks that docs/dependencies.md gives a reason for each dependency in pyproject.toml and nothing else.

Knows names only; versions are constraints.txt's business.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def list_declared() -> set[str]:
    """Names of every dependency in pyproject.toml, of every extra too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return {
        _name(line)
        for line in [*project["dependencies"], *(package for extra in extras for package in extra)]
    }


def list_explained() -> set[str]:
    """Names that have a row with a reason in docs/dependencies.md."""
    rows = re.findall(
        r"^\| `([^`]+)` \| +\S.*\|$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE
    )
    return {_name(row) for row in rows}


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def main() -> None:
    """Say what is missing, if anything is."""
    wrong = [
        f"no reason in docs/dependencies.md: {name}" for name in sorted(list_declared() - list_explained())
    ]
    wrong += [f"no longer a dependency: {name}" for name in sorted(list_explained() - list_declared())]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
