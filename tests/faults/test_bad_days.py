"""Two services on one data folder, one of them killed, under a low limit of open files."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from app.embedded.running import NOTE
from app.runtime.open_files import max_connections
from app.settings import Settings
from tests.integration.embedded.test_embedded import eventually, has_ended
from tests.live import launch

MAX_OPEN_FILES = 700
MAX_CONCURRENCY = 400


def soft_limit(pid: int) -> int:
    """How many files a process may hold open."""
    return int(psutil.Process(pid).rlimit(resource.RLIMIT_NOFILE)[0])


def embedded_servers(data_dir: Path) -> list[psutil.Process]:
    """The PostgreSQL and the Valkey of a data folder; not those that they have just forked."""
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        words = process.info["cmdline"] or []
        sockets = {Path(word).parent for word in words if word.endswith("/valkey.conf")}
        folders = {Path(words[index + 1]) for index, word in enumerate(words[:-1]) if word == "-D"}
        if any(_belongs(folder, data_dir) for folder in sockets | folders):
            found.append(process)
    numbers = {process.pid for process in found}
    return [process for process in found if process.info["ppid"] not in numbers]


def _belongs(folder: Path, data_dir: Path) -> bool:
    """Whether a folder of a server is the data folder's, or the one kept for it where root serves."""
    owner = folder.parent / "data-folder"
    return folder.is_relative_to(data_dir) or (owner.is_file() and owner.read_text().strip() == str(data_dir))


@pytest.mark.slow
def test_the_first_keeps_its_note_and_its_servers_end_after_the_last_was_killed(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))  # what the services inherit
    settings = {
        "VISION_MAX_OPEN_FILES": str(MAX_OPEN_FILES),
        "VISION_MAX_CONCURRENCY": str(MAX_CONCURRENCY),
        "VISION_EMBEDDED_LINGER_S": "1",
    }
    data_dir = tmp_path / "data"
    try:
        first = launch(data_dir, **settings)
        first.wait_until_ready()
        second = launch(data_dir, **settings)
        second.wait_until_ready()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert soft_limit(first.process.pid) == MAX_OPEN_FILES
        note = json.loads((data_dir / NOTE).read_text())
        assert (note["url"], note["pid"]) == (first.url, first.process.pid)
        assert "Another service has announced itself" in second.log.read_text()
        running = embedded_servers(data_dir)
        assert len(running) == 2, running

        first.stop(signal.SIGKILL)
        # the second uses them still, and takes the place that commands look in
        eventually(lambda: json.loads((data_dir / NOTE).read_text())["url"] == second.url, 30)
        # each check has two seconds, which a busy machine may not keep
        eventually(lambda: httpx.get(f"{second.url}/readyz", timeout=60).is_success, 60)
        assert embedded_servers(data_dir) == running

        second.stop(signal.SIGKILL)
        eventually(lambda: all(has_ended(server) for server in running), 60)
    finally:
        for live in (first, second):
            live.process.kill()
            live.process.wait(60)


@pytest.mark.parametrize(("open_files", "connections"), [(65_536, 1_024), (1_024, 768), (256, 128), (64, 32)])
def test_connections_leave_files_for_everything_else(open_files: int, connections: int) -> None:
    assert max_connections(Settings(), open_files) == connections


def test_the_limit_is_raised_as_far_as_the_hard_one_and_never_lowered() -> None:
    script = (
        "import resource; from app.runtime.open_files import raise_open_files; from app.settings import Settings\n"
        "said = []\n"
        "for soft, wanted in ((100, 300), (100, 9000), (400, 200)):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 500))\n"
        "    raised = raise_open_files(Settings(max_open_files=wanted))\n"
        "    assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0]\n"
        "    said.append(raised)\n"
        "print(said)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[300, 500, 400]"
