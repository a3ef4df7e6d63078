"""Runs sections, each in a process of its own with a limit on its time; one that fails leaves the others alone."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_stack
from types import FrameType

from benchmarks.gpu.plan import Findings, Plan, Recorder

GRACE_SECONDS = 20.0
"""What a section has after SIGTERM to stop the service it started."""
LAST_LINES = 12
SESSION_ENVIRONMENT = "VISION_BENCH_SECTION"
"""Marks whatever a section started, so that nothing of it outlives the section."""


@dataclass(frozen=True)
class Section:
    """One part of the run."""

    name: str
    code: str
    """`module:function`; the function takes a Plan and a Recorder."""
    seconds: float
    """Most that it may take."""
    purpose: str


SECTIONS = (
    Section("forward", "benchmarks.gpu.forward:measure", 60, "the models alone, by batch size"),
    Section("decode", "benchmarks.gpu.decoding:measure", 40, "JPEG decoding alone, by threads and processes"),
    Section("served", "benchmarks.gpu.serving:measure", 120, "CLIP ViT-B/32 over HTTP, and start-up"),
    Section(
        "gpu-decode", "benchmarks.gpu.serving:measure_gpu_decoding", 60, "the same, JPEGs decoded on the GPU"
    ),
    Section("served-large", "benchmarks.gpu.serving:measure_large", 70, "CLIP ViT-L/14 over HTTP"),
    Section("answers", "benchmarks.gpu.answering:measure", 150, "LLaVA of 7B against plain `generate`"),
    Section("lora", "benchmarks.gpu.training:measure", 130, "LoRA of LLaVA of 7B"),
    Section("marked", "benchmarks.gpu.suite:measure_marked", 90, "tests marked `gpu`"),
    Section("suite", "benchmarks.gpu.suite:measure", 120, "tests of models and training on this device"),
)


def run_section(section: Section, plan: Plan, folder: Path, seconds: float) -> Findings:
    """Run it for at most `seconds`; what it recorded, and a failure where it did not end well.

    Its output goes to `folder`/`name`.log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan_file, results = folder / f"{section.name}.plan.json", folder / f"{section.name}.jsonl"
    log = folder / f"{section.name}.log"
    results.unlink(missing_ok=True)
    plan.write(plan_file)
    mark = f"{section.name}-{os.getpid()}-{time.monotonic_ns()}"
    words = [sys.executable, "-m", "benchmarks.gpu.sections", section.code, str(plan_file), str(results)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, SESSION_ENVIRONMENT: mark},
            start_new_session=True,
        )
        try:
            failure = _wait(process, seconds)
        finally:
            _end_what_is_left(process, mark)
    found = Findings.read(results)
    if failure:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LAST_LINES:]
        found.failures.append(failure + "".join(f"\n    {line}" for line in last))
    return found


def _wait(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """What went wrong, None for nothing. A section beyond its time is asked to end, and then made to."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        return f"stopped after its {seconds:.0f} s"
    return f"ended with {code}" if code else None


def _end_what_is_left(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill the section and what it started, services in sessions of their own included."""
    import psutil

    for found in psutil.process_iter():
        try:
            if found.pid == process.pid or found.environ().get(SESSION_ENVIRONMENT) == mark:
                found.kill()
        except psutil.Error:
            continue
    process.wait()


def _interrupt(_: int, frame: FrameType | None) -> None:
    own = [
        f"{call.name} in {Path(call.filename).name}"
        for call in extract_stack(frame)
        if "benchmarks" in call.filename
    ]
    print(f"stopped while in {' > '.join(own[1:])}", flush=True)
    raise SystemExit(1)


def main() -> None:
    """The section's own process: `python -m benchmarks.gpu.sections MODULE:FUNCTION PLAN RESULTS`."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code, plan_file, results = sys.argv[1:]
    module, _, function = code.partition(":")
    getattr(importlib.import_module(module), function)(Plan.read(Path(plan_file)), Recorder(Path(results)))


if __name__ == "__main__":
    main()
