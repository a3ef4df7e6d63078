"""`python -m benchmarks.gpu`: everything about a GPU, one table and one list of failures, in under 8 minutes."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.gpu import machine
from benchmarks.gpu.plan import Findings, Plan
from benchmarks.gpu.report import Report
from benchmarks.gpu.sections import SECTIONS, run_section

DEFAULT_SECONDS = 465.0
"""All sections together, so that the command ends within 8 minutes."""
MIN_SECTION_SECONDS = 15.0
REHEARSAL_PATIENCE = 3.0
"""Times the limits that a rehearsal gets, which runs on whatever machine is at hand, beside other work."""


def main() -> int:
    """0 when there is no failure, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda, cuda:N, mps or cpu; whatever torch finds, if left out")
    parser.add_argument(
        "--tiny", action="store_true", help="rehearse with small models and short measurements"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-figures"), help="folder for table, JSON and logs"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="SECTION", choices=[section.name for section in SECTIONS]
    )
    parser.add_argument(
        "--seconds", type=float, default=DEFAULT_SECONDS, help="time for all sections together"
    )
    parser.add_argument("--tests", nargs="+", default=[], help="test files for the section `suite`")
    parser.add_argument("--list", action="store_true", help="print the sections and end")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{section.name:14}{section.purpose}" for section in SECTIONS))
        return 0
    device = args.device or machine.default_device()
    report = Report(machine.describe(device), judged=device.startswith("cuda") and not args.tiny)
    patience = REHEARSAL_PATIENCE if args.tiny else 1.0
    end = time.monotonic() + (args.seconds or patience * DEFAULT_SECONDS)
    with tempfile.TemporaryDirectory(prefix="vision-gpu-", dir=os.environ.get("TMPDIR")) as scratch:
        for section in SECTIONS:
            if args.only and section.name not in args.only:
                continue
            left = min(patience * section.seconds, end - time.monotonic())
            if left < MIN_SECTION_SECONDS:
                report.sections[section.name] = Findings(failures=["no time was left for it"])
                continue
            print(f"{section.name}: {section.purpose} (at most {left:.0f} s)", flush=True)
            plan = Plan(
                device,
                args.tiny,
                Path(scratch),
                seconds=1.0 if args.tiny else 4.0,
                limit_s=left,
                tests=tuple(args.tests),
                earlier=report.figures,
            )
            begun = time.monotonic()
            report.sections[section.name] = run_section(section, plan, args.out, left)
            report.took_s[section.name] = time.monotonic() - begun
            report.write(args.out)
    report.write(args.out)
    print(report.markdown())
    return 1 if report.failures() else 0


if __name__ == "__main__":
    raise SystemExit(main())
