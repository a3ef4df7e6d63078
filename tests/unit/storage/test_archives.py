"""Archives unpack inside their folder and within their limits, or not at all and leave nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.storage.archive_entries import ArchiveLimits
from app.storage.archives import check_head, unpack
from app.storage.errors import ArchiveError, ArchiveTooLargeError

LIMITS = ArchiveLimits(entries=50, ratio=100, unpacked_bytes=200 << 20)
MODES = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def zipped(path: Path, files: dict[str, bytes], **link: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, target in link.items():
            about = zipfile.ZipInfo(name)
            about.external_attr = 0o120777 << 16
            archive.writestr(about, target)
    return path


def tarred(path: Path, *entries: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                about = tarfile.TarInfo(entry[0])
                about.size = len(entry[1])
                archive.addfile(about, io.BytesIO(entry[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type = kind
    about.linkname = target
    return about


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_kind_unpacks_whatever_it_is_called(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "upload"
    if kind == "zip":
        zipped(archive, {"a/1.txt": b"one", "a/b/ü.txt": b"two", "empty/": b""})
    else:
        tarred(archive, ("a/1.txt", b"one"), ("a/b/ü.txt", b"two"), mode=MODES[kind])
    assert unpack(archive, tmp_path / "out", LIMITS).files == 2
    assert (tmp_path / "out/a/1.txt").read_bytes() == b"one"
    assert (tmp_path / "out/a/b/ü.txt").read_bytes() == b"two"


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "zip with ..": lambda path: zipped(path, {"ok": b"x", "../evil": b"x"}),
    "zip with an absolute name": lambda path: zipped(path, {"/tmp/evil": b"x"}),  # noqa: S108
    "zip with a backslash": lambda path: zipped(path, {"..\\evil": b"x"}),
    "zip with a link": lambda path: zipped(path, {}, evil="/etc/passwd"),
    "tar with ..": lambda path: tarred(path, ("a/../../evil", b"x")),
    "tar with an absolute name": lambda path: tarred(path, ("/evil", b"x")),
    "tar with a symbolic link": lambda path: tarred(
        path, special("evil", tarfile.SYMTYPE, "/etc"), ("evil/x", b"x")
    ),
    "tar with a hard link": lambda path: tarred(path, ("a", b"x"), special("evil", tarfile.LNKTYPE, "a")),
    "tar with a device": lambda path: tarred(path, special("evil", tarfile.CHRTYPE)),
    "tar with a pipe": lambda path: tarred(path, special("evil", tarfile.FIFOTYPE)),
    "the same name twice": lambda path: tarred(path, ("a", b"x"), ("a", b"y")),
    "a file where a folder is": lambda path: tarred(path, ("a/b", b"x"), ("a", b"y")),
    "a folder where a file is": lambda path: tarred(path, ("a", b"x"), ("a/b", b"y")),
    "a name of control characters": lambda path: tarred(path, ("a\nb", b"x")),
    "too deep": lambda path: tarred(path, ("a/" * 40 + "b", b"x")),
    "no archive": lambda path: path.write_bytes(b"hello" * 1000) and path,  # type: ignore[func-returns-value,return-value]
    "half a zip": lambda path: _cut(zipped(path, {f"{i}": bytes(range(256)) * 50 for i in range(20)})),
    "zip with backslashes that lead out": lambda path: zipped(path, {"train\\..\\..\\evil": b"x"}),
    "zip with a drive": lambda path: zipped(path, {"C:\\evil": b"x"}),
    "zip with a server": lambda path: zipped(path, {"\\\\server\\evil": b"x"}),
    "a name that reads backwards": lambda path: zipped(path, {"a\u202egpj.exe": b"x"}),
    "half a tar.bz2": lambda path: _cut(tarred(path, ("a", bytes(range(256)) * 500), mode="w:bz2")),
    "half a tar.xz": lambda path: _cut(tarred(path, ("a", bytes(range(256)) * 500), mode="w:xz")),
    "half a tar.gz": lambda path: _cut(tarred(path, ("a", bytes(range(256)) * 500), mode="w:gz")),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = HOSTILE[name](tmp_path / "upload")
    with pytest.raises(ArchiveError):
        unpack(archive, inner / "out", LIMITS)
    assert list(inner.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "upload"]


def test_a_bomb_is_stopped_while_it_unfolds(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb", {f"{i}": bytes(40 << 20) for i in range(4)})
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(ArchiveTooLargeError, match="unfolds"):
        unpack(archive, tmp_path / "out", LIMITS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_compressed_bomb_is_stopped_while_it_unfolds(tmp_path: Path, kind: str) -> None:
    archive = tarred(tmp_path / "bomb", ("a", bytes(120 << 20)), mode=MODES[kind])
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(ArchiveTooLargeError, match="unfolds"):
        unpack(archive, tmp_path / "out", LIMITS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [(b"Rar!\x1a\7\1\0", "RAR"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"\x28\xb5\x2f\xfd", "Zstandard")],
)
def test_other_archives_are_refused_by_name(tmp_path: Path, beginning: bytes, kind: str) -> None:
    (tmp_path / "upload").write_bytes(beginning + bytes(1_000))
    with pytest.raises(ArchiveError, match=kind):
        check_head(tmp_path / "upload", LIMITS)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_entries_are_refused(tmp_path: Path, kind: str) -> None:
    files = {f"{i}": b"" for i in range(51)}
    archive = tmp_path / "many"
    if kind == "zip":
        zipped(archive, files)
    else:
        tarred(archive, *files.items())
    with pytest.raises(ArchiveTooLargeError, match="50 entries"):
        unpack(archive, tmp_path / "out", LIMITS)


def test_archives_of_other_tools_unpack(tmp_path: Path) -> None:
    """With the folder itself first, in several gzip members, with a comment."""
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w", format=tarfile.PAX_FORMAT) as archive:
        root = tarfile.TarInfo("./")
        root.type = tarfile.DIRTYPE
        archive.addfile(root)
        about = tarfile.TarInfo("./" + "long" * 40 + "/ü.txt")
        about.size = 3
        archive.addfile(about, io.BytesIO(b"one"))
    half = len(inside.getvalue()) // 2
    members = gzip.compress(inside.getvalue()[:half]) + gzip.compress(inside.getvalue()[half:])
    (tmp_path / "members").write_bytes(members)
    assert unpack(tmp_path / "members", tmp_path / "a", LIMITS).files == 1
    assert (tmp_path / "a" / ("long" * 40) / "ü.txt").read_bytes() == b"one"

    with zipfile.ZipFile(tmp_path / "stored", "w") as archived:
        archived.comment = b"c" * 1_000
        archived.writestr("a.txt", b"one")
        with archived.open("b.txt", "w", force_zip64=True) as file:
            file.write(b"two")
    assert unpack(tmp_path / "stored", tmp_path / "b", LIMITS).files == 2
    assert (tmp_path / "b/b.txt").read_bytes() == b"two"


@pytest.mark.slow
def test_an_archive_of_more_than_65535_entries_unpacks(tmp_path: Path) -> None:
    zipped(tmp_path / "many", {f"{number}/": b"" for number in range(66_000)} | {"last.txt": b"x"})
    limits = ArchiveLimits(entries=80_000, ratio=100, unpacked_bytes=1 << 20)
    assert unpack(tmp_path / "many", tmp_path / "c", limits).files == 1
