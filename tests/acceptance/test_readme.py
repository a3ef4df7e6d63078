"""The README's commands, run as they stand, print what it shows (numbers and ids aside)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import Live, environment

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^    \$ (.+)\n((?:    (?!\$ ).*\n)*)", re.MULTILINE)
ADDRESS = "http://127.0.0.1:8000"


def plain(text: str) -> str:
    """Text without what differs from run to run: ids, numbers, addresses and column widths."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"@[0-9a-f]{16}", "@WEIGHTS", text)
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", text)).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_commands_print_what_the_readme_shows(service: Live, photos: Path) -> None:
    commands = COMMAND.findall((ROOT / "README.md").read_text())
    assert len(commands) >= 4
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, shown in commands:
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, service.url)],
            cwd=photos,
            env=environment(PATH=path, VISION_SERVER=service.url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        said = done.stdout + done.stderr if "vision" in command else done.stdout
        assert plain(said) == plain(shown), command


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
