"""The GPU benchmark's plumbing, which must work the first time a GPU is at hand: sections, table, parcels, load."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import install, suite, training
from benchmarks.gpu.install import InstallError
from benchmarks.gpu.pack import PRESENT, closure, project_requirements, write_parts
from benchmarks.gpu.plan import Figure, Findings, Plan
from benchmarks.gpu.report import Report
from benchmarks.gpu.sections import SECTIONS, Section, run_section
from tests.integration.embedded.test_embedded import has_ended

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import subprocess, sys, time

def sound(plan, recorder):
    recorder.figure("seen before", plan.earlier["images"], "images/s")

def broken(plan, recorder):
    recorder.figure("halfway", 1.0)
    raise ValueError("no such kernel")

def endless(plan, recorder):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    recorder.figure("child", child.pid)
    time.sleep(600)
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan, and a module `made_up` of sections that a section's process finds."""
    (tmp_path / "made_up.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    return Plan("cpu", True, tmp_path, earlier={"images": 7.0})


def made_up(function: str, plan: Plan, seconds: float = 60) -> Findings:
    section = Section(function, f"made_up:{function}", seconds, "")
    return run_section(section, plan, plan.scratch / "out", seconds)


def test_a_section_reads_what_sections_before_it_measured(plan: Plan) -> None:
    assert made_up("sound", plan) == Findings(figures=[Figure("seen before", 7.0, "images/s")])


def test_a_section_that_breaks_keeps_its_figures_and_says_why(plan: Plan) -> None:
    found = made_up("broken", plan)
    assert [figure.name for figure in found.figures] == ["halfway"]
    assert "ended with 1" in found.failures[0]
    assert "no such kernel" in found.failures[0]


@pytest.mark.slow
def test_a_section_beyond_its_time_is_ended_with_all_that_it_started(plan: Plan) -> None:
    found = made_up("endless", plan, seconds=20)
    assert found.failures[0].startswith("stopped after its 20 s")
    pid = int(found.figures[0].value)
    deadline = time.monotonic() + 60
    while not has_ended(pid):
        assert time.monotonic() < deadline, "what it started lives on"
        time.sleep(0.05)


def test_every_section_names_code_that_is_there() -> None:
    for section in SECTIONS:
        module, _, function = section.code.partition(":")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
        assert f"def {function}(plan: Plan, recorder: Recorder)" in source


def test_the_table_tells_what_holds_and_lists_what_does_not(tmp_path: Path) -> None:
    figures = [
        Figure("served", 3_999.0, "images/s", least=4_000),
        Figure("lone", 5.0, "ms", most=6),
        Figure("forward", 9_000.0, "images/s"),
    ]
    found = {"served": Findings(figures, ["a request was lost"], ["no nvidia-smi"]), "empty": Findings()}
    report = Report({"device": "a GPU"}, judged=True, sections=found)
    report.write(tmp_path)
    text = (tmp_path / "gpu.md").read_text()
    assert "| served | served | 3,999 images/s | >= 4,000 | FAILS |" in text
    assert "| served | lone | 5 ms | <= 6 | holds |" in text
    assert "| served | forward | 9,000 images/s |  |  |" in text
    assert "- served: no nvidia-smi" in text
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["failures"] == [
        "served: a request was lost",
        "served: served is 3,999 images/s, to hold >= 4,000",
    ]
    rehearsed = Report({"device": "cpu"}, judged=False, sections=found)
    assert rehearsed.failures() == ["served: a request was lost"]
    assert "FAILS" not in rehearsed.markdown()


def test_what_a_machine_for_deep_learning_has_is_not_packed_but_its_versions_are_checked() -> None:
    packages = closure(project_requirements(), PRESENT, "3.12")
    assert packages["torch"]["version"] == ""
    assert ">=2.11" in packages["torch"]["specifiers"]
    assert packages["starlette"]["version"], "what fastapi needs comes along"
    assert packages["pytest"]["version"]
    assert "triton" not in packages, "nothing that only torch needs"


def test_what_is_cut_into_parts_comes_out_whole_and_nothing_else_passes(tmp_path: Path) -> None:
    files, out, store = tmp_path / "files", tmp_path / "out", tmp_path / "store"
    files.mkdir()
    out.mkdir()
    large = os.urandom(1_900_000)
    (files / "large.whl").write_bytes(large)
    (files / "small.whl").write_bytes(b"small")
    count = write_parts(files.iterdir(), out, 1.0, "3.12", {"torch": {"version": "", "specifiers": ">=2"}})
    parts = sorted(out.iterdir())
    assert len(parts) == count == 3
    for part in parts:
        assert sum(file.stat().st_size for file in part.iterdir()) <= 1_000_000

    assert install.keep(parts[:1], store) == ["part-2", "part-3"]
    assert install.keep(parts[1:], store) == []
    install.join(store)
    assert (store / "large.whl").read_bytes() == large
    assert (store / "small.whl").read_bytes() == b"small"

    piece = next(store.glob("large.whl.01"))
    piece.write_bytes(piece.read_bytes()[:-1] + b"?")
    with pytest.raises(InstallError, match=r"large\.whl is not what was packed"):
        install.join(store)


def test_the_machines_own_version_is_kept_where_it_serves_and_what_it_lacks_is_named() -> None:
    packages = {
        "pytest": {"version": "1.0", "specifiers": ">=8"},
        "psutil": {"version": "99.0", "specifiers": ">=99"},
        "no-such-package": {"version": "", "specifiers": ">=3"},
    }
    wanted, notes = install.choose(packages)
    assert wanted == ["psutil==99.0"]
    assert any(note.startswith("kept pytest ") for note in notes)
    assert any(note.startswith("MISSING no-such-package>=3") for note in notes)


def test_outcomes_are_read_from_what_pytest_prints() -> None:
    lines = [
        "tests/unit/test_a.py::test_one PASSED                   [ 50%]",
        "[gw1] [ 12%] FAILED tests/unit/test_b.py::test_two[x] ",
        "[gw0] [ 25%] SKIPPED tests/unit/test_c.py::test_three ",
        "FAILED tests/unit/test_b.py::test_two[x] - ValueError: 3",
    ]
    assert list(suite.results(lines)) == [
        ("PASSED", "tests/unit/test_a.py::test_one"),
        ("FAILED", "tests/unit/test_b.py::test_two[x]"),
        ("SKIPPED", "tests/unit/test_c.py::test_three"),
    ]


def test_the_time_of_a_step_comes_from_the_jobs_own_events() -> None:
    def event(step: int, second: int, name: str = "loss") -> tuple[str, dict[str, object]]:
        return "metric", {"step": step, "values": {name: 1.0}, "at": f"2026-01-01T00:00:{second:02}+00:00"}

    assert training.step_seconds([event(1, 10), event(3, 12), event(5, 18), event(9, 59, "other")]) == 2.0
    assert training.step_seconds([event(1, 10)]) is None


class _Answering(socketserver.StreamRequestHandler):
    """Two of three requests get 200, the third 503 and a closed connection."""

    turn = 0

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            _Answering.turn += 1
            if _Answering.turn % 3 == 0:
                self.wfile.write(b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad")
                return
            body = b"x" * 70_000  # more than one read takes
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture
def port() -> Iterator[int]:
    """Where `_Answering` listens."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("extra", [[], ["--asyncio"]])
def test_the_load_generator_counts_answers_by_what_they_are(
    port: int, tmp_path: Path, extra: list[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"y" * 300_000)
    words = ["127.0.0.1", str(port), "/v1/classify", str(tmp_path), "4", "1", *extra]
    command = [sys.executable, "-m", "benchmarks.load", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=ROOT)
    found = json.loads(done.stdout)
    assert found["count"] > 0
    assert found["refused"] == pytest.approx(found["count"] / 2, abs=4)
    assert found["failed"] == found["unanswered"] == 0
    assert 0 < found["median_s"] <= found["p99_s"]
    assert found["cpu_s"] > 0
