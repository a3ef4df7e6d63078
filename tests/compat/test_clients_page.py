"""Every block of docs/clients.md runs as it stands and prints what it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Live, environment, serving

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"  # -> (.*)$", re.MULTILINE)
BLOCKS = BLOCK.findall((ROOT / "docs" / "clients.md").read_text())
NOT_BESIDE_OURS = ("langchain", "llama_index", "litellm", "tritonclient")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Path]]:
    """A service and a folder after the page's first block."""
    folder = tmp_path_factory.mktemp("page")
    with serving(folder / "data") as live:
        said = run(*BLOCKS[0], live, folder)
        assert "mug" in said
        yield live, folder


def run(kind: str, block: str, live: Live, folder: Path) -> str:
    """What the block prints in the folder, with the service in the place of the page's address."""
    block = block.replace("127.0.0.1:8000", live.url.removeprefix("http://"))
    words = ["bash", "-e", "-o", "pipefail", "-c", block]
    if kind == "python":
        needs_other = any(name in block for name in NOT_BESIDE_OURS)
        if needs_other and not CLIENTS.exists():
            pytest.skip("`make test` installs the other clients into .venv-clients")
        words = [str(CLIENTS) if needs_other else sys.executable, "-c", block]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment(PATH=path, VISION_SERVER=live.url, LITELLM_LOCAL_MODEL_COST_MAP="True"),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("number", range(1, len(BLOCKS)))
def test_a_block_prints_what_it_shows(taught: tuple[Live, Path], number: int) -> None:
    kind, block = BLOCKS[number]
    if kind == "bash" and shutil.which("curl") is None:
        pytest.skip("needs curl")
    shown = SHOWN.findall(block)
    assert shown
    said = run(kind, SHOWN.sub("", block), *taught).splitlines()
    assert [line for line in said if line in shown] == shown
