"""A disk without room and a process without files to open, provoked for real: what callers are told, and what stays."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from app.http.spool import IN_MEMORY_BYTES, Spool
from app.inference.errors import ModelTaskError
from app.settings import Settings
from app.storage import disk
from app.storage.blobs import BlobStore
from app.storage.errors import InsufficientStorageError, StoreUnavailableError, TooManyOpenFilesError
from app.storage.files import FileStore

FULL = Path("/dev/full")
"""A device that answers every write as a full disk does, for any user. Never give its path to what makes files anew."""
DATA = os.urandom(100_000)
HASH = hashlib.sha256(DATA).hexdigest()


@contextmanager
def no_file_to_open() -> Iterator[None]:
    """For a block, this process may open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written to a temporary file meets a full disk."""

    def drafted(dir: Path, prefix: str = "draft") -> tuple[int, str]:
        name = Path(dir) / f"{prefix}full"
        name.touch()
        return os.open(FULL, os.O_WRONLY), str(name)

    monkeypatch.setattr(tempfile, "mkstemp", drafted)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: FULL.open("w+b"))


def write_to_full() -> None:
    with FULL.open("wb") as file:
        file.write(DATA)


def save_array_to_full() -> None:
    with FULL.open("wb", buffering=0) as file:
        np.save(file, np.zeros(1_000_000))


def say_as_safetensors() -> None:
    """Its writer puts a new file in the place of the device, so what it says of a full disk is repeated here."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [write_to_full, save_array_to_full, say_as_safetensors])
def test_a_full_disk_is_known_whatever_a_library_makes_of_it(
    write: Callable[[], None], tmp_path: Path
) -> None:
    with pytest.raises((OSError, SafetensorError)) as caught:
        write()
    named = disk.fault_of(caught.value, tmp_path, what="models")
    assert isinstance(named, InsufficientStorageError)
    assert named.status == 507
    assert "The disk that keeps models is full (" in named.detail
    assert disk.want_of_room(caught.value, Path("/"), what="models") is not None
    assert disk.want_of_room(named, Path("/"), what="models") is named
    with no_file_to_open():
        assert isinstance(disk.out_of_files(), TooManyOpenFilesError)
    assert disk.out_of_files() is None


def wrapped(*, hidden: bool) -> None:
    try:
        write_to_full()
    except OSError as error:
        raise RuntimeError("the model could not be saved") from (None if hidden else error)


def test_what_led_to_a_failure_is_looked_at_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        wrapped(hidden=False)
    assert isinstance(disk.fault_of(caught.value), InsufficientStorageError)
    with pytest.raises(RuntimeError) as caught:
        wrapped(hidden=True)
    assert disk.fault_of(caught.value) is None


def test_a_named_error_hides_no_full_disk_that_led_to_it() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_to_full()
    named = ModelTaskError("The model could not be written.")
    named.__cause__ = caught.value
    assert isinstance(disk.want_of_room(named, Path("/"), what="models"), InsufficientStorageError)
    assert disk.want_of_room(ModelTaskError("It does not answer."), Path("/"), what="models") is None


def test_too_many_open_files_are_known_with_their_limit() -> None:
    with no_file_to_open(), pytest.raises(OSError, match="Too many open files") as caught:
        os.open("/dev/null", os.O_RDONLY)
    named = disk.fault_of(caught.value)
    assert isinstance(named, TooManyOpenFilesError)
    assert named.status == 503
    assert "ulimit -n" in named.detail
    assert disk.want_of_room(caught.value, Path("/"), what="models") is not None
    assert disk.want_of_room(named, Path("/"), what="models") is named


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "can only be read"),
        (errno.EIO, "input/output errors"),
        (errno.EACCES, "may not read or write there"),
        (errno.ESTALE, "went away"),
    ],
)
def test_other_failures_of_a_disk_name_their_cause(number: int, words: str) -> None:
    named = disk.fault_of(OSError(number, os.strerror(number), "/secret/place"))
    assert isinstance(named, StoreUnavailableError)
    assert words in named.detail
    assert "/secret" not in named.detail
    assert disk.want_of_room(named, Path("/"), what="models") is None


def test_what_no_disk_did_has_no_name_here() -> None:
    for error in (
        ValueError("no"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        FileNotFoundError(2, "x"),
    ):
        assert disk.fault_of(error) is None


def test_room_is_counted_where_nothing_was_made_yet(tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(tmp_path).free // 2**20
    new = tmp_path / "not" / "made"
    disk.check_room(new, 1)
    with pytest.raises(InsufficientStorageError, match=r"VISION_MIN_FREE_MB"):
        disk.check_room(new, free_mb + 10_000)
    with pytest.raises(InsufficientStorageError, match=r"\d+ MB are needed"):
        disk.check_room(new, 1, more_bytes=(free_mb + 10_000) * 2**20)
    assert not disk.is_full(new)


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_leaves_the_stores_as_they_were(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, min_free_mb=1)
    blobs, files = BlobStore.from_settings(settings), FileStore.from_settings(settings)
    kept = tmp_path / "files" / "jobs" / "one"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"before")
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with pytest.raises(InsufficientStorageError, match="keeps images is full"):
        await blobs.put(HASH, DATA)
    with pytest.raises(InsufficientStorageError, match="keeps files is full"):
        files.put("jobs/one", source)
    assert kept.read_bytes() == b"before"
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == ["one"]


async def test_stores_leave_the_room_that_is_kept_free(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, min_free_mb=shutil.disk_usage(tmp_path).free // 2**20 + 10_000)
    with pytest.raises(InsufficientStorageError):
        await BlobStore.from_settings(settings).put(HASH, DATA)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with pytest.raises(InsufficientStorageError):
        FileStore.from_settings(settings).put("a/b", source)
    assert list((tmp_path / "files").iterdir()) == []


async def test_stores_without_a_file_to_open_say_so_and_recover(tmp_path: Path) -> None:
    store = BlobStore.from_settings(Settings(data_dir=tmp_path, min_free_mb=1))
    files = FileStore.from_settings(Settings(data_dir=tmp_path, min_free_mb=1))
    await store.put(HASH, DATA)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    files.put("a/b", source)
    with no_file_to_open():
        with pytest.raises(TooManyOpenFilesError):
            store.read(HASH)
        with pytest.raises(TooManyOpenFilesError):
            store.keep(b"another")
        with pytest.raises(TooManyOpenFilesError):
            files.get("a/b", tmp_path / "copy")
    assert store.read(HASH) == DATA
    assert store.keep(b"another")


async def test_a_store_whose_folder_went_away_says_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, min_free_mb=1)
    blobs, files = BlobStore.from_settings(settings), FileStore.from_settings(settings)
    for name in ("blobs", "files"):
        (tmp_path / name).rename(tmp_path / f"{name}-away")
    with pytest.raises(StoreUnavailableError, match="is not there"):
        await blobs.get(HASH)
    with pytest.raises(StoreUnavailableError, match="is not there"):
        await blobs.put(HASH, DATA)
    with pytest.raises(StoreUnavailableError, match="is not there"):
        files.get("a/b", tmp_path / "copy")


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("size", [IN_MEMORY_BYTES + 1, 3 * IN_MEMORY_BYTES])
def test_an_upload_that_does_not_fit_is_refused_and_forgotten(size: int, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "uploads", 2**30)
    entry = spool.open()

    def upload() -> None:
        for _ in range(0, size, 1000):
            entry.write(b"x" * 1000)
        entry.read()

    with pytest.raises(InsufficientStorageError, match="keeps uploads is full"):
        upload()
    entry.close()
    assert spool.held == 0


def test_a_spool_leaves_the_room_that_is_kept_free(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "uploads", 2**30, min_free_mb=shutil.disk_usage(tmp_path).free // 2**20 + 10_000)
    entry = spool.open()
    entry.write(b"x" * IN_MEMORY_BYTES)
    with pytest.raises(InsufficientStorageError):
        entry.write(b"x")
    entry.close()


def test_a_spool_looks_again_while_an_upload_grows(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "uploads", 2**30)
    entry = spool.open()
    entry.write(b"x" * (IN_MEMORY_BYTES + 1))
    spool.min_free_mb = shutil.disk_usage(tmp_path).free // 2**20 + 10_000  # others filled the disk meanwhile
    entry.write(b"x" * 6 * 2**20)
    with pytest.raises(InsufficientStorageError):
        entry.write(b"x" * 2**20)
    entry.close()
    assert spool.held == 0
