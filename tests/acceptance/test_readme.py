"""The commands of the README, of the first steps and of the examples print what is shown (ids and times aside; scores
nearly).
"""

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
PAGES = ("README.md", "docs/first-steps.md")
"""In the order in which a reader meets them: the second goes on where the first ends."""


def plain(text: str) -> str:
    """Text without what differs from run to run: ids, numbers, addresses and column widths."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"@[0-9a-f]{16}", "@WEIGHTS", text)
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", text)).strip()


def scores(text: str) -> list[float]:
    """The probabilities and likenesses that a text shows, in order; times are left out."""
    return [
        float(number) for number in re.findall(r"\b(?:[01]\.\d{3,}|1\.0)\b", text.partition('"timing_ms"')[0])
    ]


def check_commands(page: str, service: Live, folder: Path) -> None:
    """Run the page's commands that are shown with their output, in the folder and in order."""
    commands = COMMAND.findall((ROOT / page).read_text())
    assert len(commands) >= 3, page
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, shown in commands:
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, service.url)],
            cwd=folder,
            env=environment(PATH=path, VISION_SERVER=service.url, VISION_PROGRESS_LINE_S="3600"),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        said = done.stdout if "curl" in command else done.stdout + done.stderr
        assert plain(said) == plain(shown), command
        assert scores(said) == pytest.approx(scores(shown), abs=SCORE_TOLERANCE), command


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_commands_print_what_the_readme_and_the_first_steps_show(service: Live, tmp_path: Path) -> None:
    service.forget_everything()
    for page in PAGES:
        check_commands(page, service, tmp_path)


def test_the_examples_print_what_their_page_shows(service: Live, tmp_path: Path) -> None:
    service.forget_everything()
    assert run("demo", "demo", cwd=tmp_path).returncode == 0
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    check_commands("examples/README.md", service, tmp_path)
    shown = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert (
        set(re.findall(r"\$ python examples/(\w+\.py)", (ROOT / "examples/README.md").read_text())) == shown
    )


def test_every_file_that_these_pages_name_is_in_the_demo(tmp_path: Path) -> None:
    assert run("demo", "demo", cwd=tmp_path).returncode == 0
    text = "".join((ROOT / page).read_text() for page in PAGES)
    named = set(re.findall(r"\bdemo/[\w./-]+", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (tmp_path / name).exists()] == []
