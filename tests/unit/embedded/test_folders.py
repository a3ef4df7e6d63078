"""Private folders and secret files stay private, whoever was there first."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.embedded.errors import FolderError
from app.embedded.folders import SOCKET_NOTE, private_folder, secret, socket_folder, write_private


def test_a_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "password"
    first = secret(path)
    assert len(first) >= 32
    assert secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private_folder(tmp_path / "folder")
        write_private(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_writing_replaces_a_link_instead_of_following_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file").symlink_to(victim)
    write_private(tmp_path / "file", "text")
    assert victim.read_text() == "precious"
    assert (tmp_path / "file").read_text() == "text"


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = ["a" * 100_000, "b" * 100_000]
    write_private(path, texts[0])
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: [write_private(path, texts[turn % 2]) for turn in range(30)])
        while not writing.done():
            assert path.read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_open_folder_or_a_link_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    open_ = tmp_path / "open"
    open_.mkdir()
    open_.chmod(0o750)
    with pytest.raises(FolderError, match="open to other users"):
        private_folder(open_)
    assert stat.S_IMODE(open_.stat().st_mode) == 0o750
    private_folder(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(FolderError, match="not a link"):
        private_folder(tmp_path / "link")
    with pytest.raises(FolderError, match="cannot be made"):
        private_folder(tmp_path / "missing" / "folder")


def test_a_short_path_keeps_its_sockets(tmp_path: Path) -> None:
    state = private_folder(tmp_path / "s")
    assert socket_folder(state / "sockets", state) == state / "sockets"
    assert not (state / SOCKET_NOTE).exists()


def test_a_long_path_gets_a_short_private_folder_that_is_found_again(tmp_path: Path) -> None:
    state = private_folder(tmp_path / ("x" * 100))
    made = socket_folder(state / "sockets", state)
    assert len(os.fsencode(made / ".s.PGSQL.5432")) <= 107
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert socket_folder(state / "sockets", state) == made
    made.rmdir()


def test_a_noted_folder_that_somebody_swapped_is_not_used(tmp_path: Path) -> None:
    state = private_folder(tmp_path / ("x" * 100))
    trap = tmp_path / "trap"
    trap.mkdir()
    trap.chmod(0o777)
    first = socket_folder(state / "sockets", state)
    first.rmdir()
    first.symlink_to(trap)
    second = socket_folder(state / "sockets", state)
    assert second not in {first, trap}
    assert list(trap.iterdir()) == []
    first.unlink()
    second.rmdir()
