"""Blobs in a folder and behind an fsspec URL: the same promises."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest

from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.errors import StoreUnavailableError

DATA = b"some image"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["folder", "memory", "file", "path"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    url = {
        "folder": None,
        "memory": f"memory://{uuid.uuid4()}/blobs",
        "file": f"file://{tmp_path}/elsewhere",
        "path": f"{tmp_path}/elsewhere",
    }[request.param]
    return BlobStore.from_settings(Settings(data_dir=tmp_path, blob_url=url))


async def test_what_is_put_can_be_read_and_deleted(store: BlobStore) -> None:
    await store.put(HASH, DATA)
    await store.put(HASH, DATA)
    assert await store.get(HASH) == DATA
    await store.delete(HASH)
    await store.delete(HASH)
    with pytest.raises(FileNotFoundError):
        await store.get(HASH)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", HASH.upper(), HASH + "\n", HASH[:-1], "/" + HASH])
async def test_only_a_hash_is_a_name(store: BlobStore, name: str) -> None:
    for call in (store.get(name), store.delete(name), store.put(name, DATA)):
        with pytest.raises(ValueError, match="64 hex digits"):
            await call


async def test_age_is_counted_from_the_last_write(store: BlobStore) -> None:
    await store.put(HASH, DATA)
    assert await store.older_than(3600) == []
    assert await store.older_than(-1) == [HASH]


async def test_a_folder_fans_out_and_is_private(tmp_path: Path) -> None:
    store = BlobStore.from_settings(Settings(data_dir=tmp_path))
    await store.put(HASH, DATA)
    assert (tmp_path / "blobs" / HASH[:2] / HASH).read_bytes() == DATA
    assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0


async def test_what_a_killed_process_was_writing_is_no_blob_and_goes_when_old(tmp_path: Path) -> None:
    store = BlobStore.from_settings(Settings(data_dir=tmp_path))
    await store.put(HASH, DATA)
    half = tmp_path / "blobs" / HASH[:2] / ".new-killed"
    half.write_bytes(b"some")
    assert await store.older_than(3600) == []
    assert half.exists()
    os.utime(half, (0, 0))
    assert await store.older_than(3600) == []
    assert not half.exists()


async def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    store = BlobStore.from_settings(Settings(data_dir=tmp_path))
    (tmp_path / "blobs" / HASH[:2]).write_text("in the way")
    with pytest.raises(StoreUnavailableError):
        await store.put(HASH, DATA)
