"""A service's own folder: nobody else's sweeping takes it away, and what killed services left goes."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runtime.run_folder import MAX_START_SECONDS, run_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path: sockets below a long one would go to the machine's own temporary folder."""
    with tempfile.TemporaryDirectory(prefix="lfv", dir="/tmp") as folder:
        yield Path(folder)


def test_folders_of_services_that_are_gone_are_removed_and_no_others(data_dir: Path) -> None:
    with run_folder(data_dir) as running:
        parent = running.parent
        killed, starting, killed_early = (
            parent / f"service-{name}" for name in ("killed", "starts", "early")
        )
        for folder in (killed, starting, killed_early):
            folder.mkdir()
        (killed / "lock").touch()
        long_ago = time.time() - 2 * MAX_START_SECONDS
        for folder in (running, killed_early):
            os.utime(folder, (long_ago, long_ago))
        with run_folder(data_dir) as other:
            assert set(parent.iterdir()) == {running, starting, other}
        assert running.is_dir()
    assert set(parent.iterdir()) == {starting}


def test_many_that_start_and_end_at_once_keep_their_folders(data_dir: Path) -> None:
    lost: list[str] = []

    def serve() -> None:
        try:
            for _ in range(40):
                with run_folder(data_dir) as folder:
                    (folder / "file").write_text("here")
        except OSError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lost == []
