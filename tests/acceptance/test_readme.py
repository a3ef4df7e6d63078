"""The README's commands, run as they stand, print what it shows (ids and times aside; scores nearly)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import Live, environment, run

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^    \$ (.+)\n((?:    (?!\$ ).*\n)*)", re.MULTILINE)
SCORE_TOLERANCE = 0.01
"""Scores of one machine differ from another's by rounding, amplified by calibration."""
ADDRESS = "http://127.0.0.1:8000"


def plain(text: str) -> str:
    """Text without what differs from run to run: ids, numbers, addresses and column widths."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"@[0-9a-f]{16}", "@WEIGHTS", text)
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", text)).strip()


def scores(text: str) -> list[float]:
    """The probabilities and likenesses that a text shows, in order; times are left out."""
    return [float(number) for number in re.findall(r"\b[01]\.\d{3,}\b", text.partition('"timing_ms"')[0])]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_commands_print_what_the_readme_shows(service: Live, tmp_path: Path) -> None:
    commands = COMMAND.findall((ROOT / "README.md").read_text())
    assert len(commands) >= 4
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, shown in commands:
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, service.url)],
            cwd=tmp_path,
            env=environment(PATH=path, VISION_SERVER=service.url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        said = done.stdout + done.stderr if "vision" in command else done.stdout
        assert plain(said) == plain(shown), command
        assert scores(said) == pytest.approx(scores(shown), abs=SCORE_TOLERANCE), command


def test_every_file_of_the_readme_is_in_the_demo(tmp_path: Path) -> None:
    assert run("demo", "demo", cwd=tmp_path).returncode == 0
    named = set(re.findall(r"\bdemo/[\w./-]+", (ROOT / "README.md").read_text()))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (tmp_path / name).exists()] == []


def test_the_example_recognises_what_it_is_taught(service: Live, photos: Path) -> None:
    words = ["cat=chelsea.jpg", "coffee=coffee.jpg", "--", "chelsea.jpg", "coffee.jpg", "brick.jpg"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "image_classification.py"), *words],
        cwd=photos,
        env=environment(VISION_SERVER=service.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == [
        "chelsea.jpg: cat",
        "coffee.jpg: coffee",
        "brick.jpg: none of these",
    ]
