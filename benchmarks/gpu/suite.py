"""The project's own tests on this device: those marked `gpu`, and those of models and training."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.gpu.plan import Plan, Recorder

ROOT = Path(__file__).resolve().parents[2]
SELECTION = (
    "tests/unit/inference/test_device.py",
    "tests/integration/workers/test_lora_vlm.py",
    "tests/integration/workers/test_finetune_vlm.py",
    "tests/integration/inference/test_vlms.py",
    "tests/integration/families/test_vlm_formats.py",
    "tests/integration/families/test_encoder_hugging_face.py",
    "tests/integration/families/test_encoder_lite.py",
    "tests/integration/workers/test_lora_encoders.py",
    "tests/integration/workers/test_finetune_encoder.py",
    "tests/integration/inference/test_shared_bases.py",
    "tests/integration/inference/registry",
    "tests/integration/families/test_optimisation.py",
)
"""What loads models and trains, those that failed on a GPU before first."""
TINY_SELECTION = ("tests/unit/inference/test_device.py",)
MARGIN_SECONDS = 12.0
"""What pytest gets to end after its time is over, and what is kept for reading its results after that."""
NO_TESTS = 5
_OUTCOME = "(PASSED|FAILED|ERROR|SKIPPED)"
_RESULT = re.compile(rf"{_OUTCOME} +\S*?(tests/\S+\.py\S*)|(tests/\S+\.py\S*) +{_OUTCOME}")
_CAUSE = re.compile(r"^(FAILED|ERROR) (tests/\S+?)(?: - (.*))?$")


def results(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(outcome, test) of each line of verbose output that tells one, with and without xdist."""
    for line in lines:
        if (found := _RESULT.search(line)) and not _CAUSE.match(line):
            yield found[1] or found[4], found[2] or found[3]


def run_pytest(words: Sequence[str], seconds: float, log: Path) -> int:
    """Its exit code; it is interrupted after `seconds`, and then tells what it had found."""
    command = [sys.executable, "-m", "pytest", "-vv", "--tb=short", "-rfE", "-p", "no:cacheprovider", *words]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                return process.wait(MARGIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()


def run_tests(plan: Plan, recorder: Recorder, name: str, words: Sequence[str]) -> None:
    """Run and record: counts, each failure with its cause, and what was not reached."""
    log = plan.scratch / f"{name}.pytest.log"
    begun, seconds = time.monotonic(), max(MARGIN_SECONDS, plan.limit_s - 2 * MARGIN_SECONDS)
    code = run_pytest(words, seconds, log)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join(lines[-400:]))
    outcomes = {test: outcome for outcome, test in results(lines)}
    causes = {found[2]: found[3] for line in lines if (found := _CAUSE.match(line))}
    for outcome, unit in (("PASSED", "passed"), ("SKIPPED", "skipped")):
        recorder.figure(f"{name}: {unit}", sum(found == outcome for found in outcomes.values()), "tests")
    for test in dict.fromkeys(
        [*causes, *(test for test, outcome in outcomes.items() if outcome in ("FAILED", "ERROR"))]
    ):
        recorder.failure(f"{test}: {causes.get(test) or 'its cause is in the log'}")
    if time.monotonic() - begun >= seconds:
        recorder.failure(f"stopped after {seconds:.0f} s, before all tests had run")
    elif code == NO_TESTS:
        recorder.skip("no test is marked so")
    elif code > 1:
        recorder.failure(f"pytest ended with {code}: {' / '.join(lines[-3:])}")


def measure_marked(plan: Plan, recorder: Recorder) -> None:
    """What is marked `gpu`."""
    run_tests(plan, recorder, "tests marked gpu", ["-m", "gpu", "tests"])


def measure(plan: Plan, recorder: Recorder) -> None:
    """Tests of models and training, four at a time where there are cores enough."""
    chosen = plan.tests or (TINY_SELECTION if plan.tiny else SELECTION)
    spread = [] if plan.tiny else ["--numprocesses", "4", "--dist", "loadfile"]
    run_tests(plan, recorder, "tests of models and training", [*spread, "-m", "not slow", *chosen])
