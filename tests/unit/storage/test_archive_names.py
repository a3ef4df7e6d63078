"""Names in archives as people wrote them: code pages, backslashes and what macOS adds; each guess is stated."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from app.settings import Settings
from app.storage.archive_entries import ArchiveLimits
from app.storage.archives import UnpackedArchive, unpack, unpack_bounded
from tests.archive_files import raw_zip

LIMITS = ArchiveLimits(entries=50, ratio=100, unpacked_bytes=200 << 20)

GUESSES = {
    "gbk": ("gb18030", ["猫", "狗"], "GBK"),
    "gbk splits": ("gb18030", ["训练集", "测试集"], "GBK"),
    "shift-jis": ("cp932", ["猫", "犬"], "Shift-JIS"),
    "shift-jis with a backslash's byte": ("cp932", ["花", "表面", "能力"], "Shift-JIS"),
    "euc-kr": ("cp949", ["고양이", "강아지"], "EUC-KR"),
    "big5": ("big5", ["貓", "狗"], "Big5"),
    "cp437": ("cp437", ["Äpfel", "Bäume"], "CP437"),
    "cp1252": ("cp1252", ["Äpfel", "Bäume"], "Windows-1252"),
    "cp866": ("cp866", ["кошка", "собака"], "CP866"),
    "utf-8": ("utf-8", ["Äpfel", "Bäume"], "UTF-8"),
    "utf-8 of ideographs": ("utf-8", ["猫", "狗"], "UTF-8"),
}


def raw_tar(path: Path, names: list[bytes], layout: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=layout, encoding="utf-8", errors="surrogateescape") as archive:
        for name in names:
            about = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            archive.addfile(about, io.BytesIO())
    return path


def names_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def unpacked(archive: Path) -> tuple[set[str], UnpackedArchive]:
    found = unpack(archive, archive.parent / "out", LIMITS)
    return names_of(archive.parent / "out"), found


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("case", GUESSES)
def test_names_without_a_stated_encoding_are_read_and_the_guess_is_stated(
    tmp_path: Path, case: str, kind: str
) -> None:
    encoding, labels, called = GUESSES[case]
    written = {f"data/{label}/{number}.jpg" for label in labels for number in range(3)} | {"data/a.txt"}
    raw = [name.encode(encoding) for name in sorted(written)]
    names, found = unpacked((raw_zip if kind == "zip" else raw_tar)(tmp_path / "upload", raw))
    assert names == written
    if kind == "tar" and encoding == "utf-8":  # which is what a tar's names are in
        assert found.remarks == []
        return
    (remark,) = found.remarks
    assert called in remark
    assert any(f"'{label}'" in remark for label in labels)


def test_a_pax_archive_whose_names_are_no_utf_8_is_guessed_too(tmp_path: Path) -> None:
    raw = [f"{label}/1.jpg".encode("gb18030") for label in ("苹果", "狗")]
    names, found = unpacked(raw_tar(tmp_path / "upload", raw, tarfile.PAX_FORMAT))
    assert names == {"苹果/1.jpg", "狗/1.jpg"}
    assert "GBK" in found.remarks[0]


def test_flagged_and_plain_names_need_no_guess(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "upload", "w") as archive:
        archive.writestr("a/1.txt", b"")
        archive.writestr("ü/猫.txt", b"")
    names, found = unpacked(tmp_path / "upload")
    assert names == {"a/1.txt", "ü/猫.txt"}
    assert found.remarks == []


def test_a_name_that_is_not_what_its_flag_says_is_guessed(tmp_path: Path) -> None:
    raw = [f"{label}/1.jpg".encode("gb18030") for label in ("狗", "苹果")]
    names, found = unpacked(raw_zip(tmp_path / "upload", raw, flags=0x800))
    assert names == {"狗/1.jpg", "苹果/1.jpg"}
    assert "GBK" in found.remarks[0]


def test_the_name_that_an_archiver_wrote_beside_it_counts(tmp_path: Path) -> None:
    raw = "狗.jpg".encode("gb18030")
    field = b"\1" + struct.pack("<L", zlib.crc32(raw)) + "犬.jpg".encode()
    names, found = unpacked(
        raw_zip(tmp_path / "upload", [raw], extra=struct.pack("<HH", 0x7075, len(field)) + field)
    )
    assert names == {"犬.jpg"}
    assert found.remarks == []


def test_a_reading_that_is_nearly_as_likely_is_named(tmp_path: Path) -> None:
    raw = [f"{label}/1.jpg".encode("big5") for label in ("鳥", "魚")]
    _, found = unpacked(raw_zip(tmp_path / "upload", raw))
    assert "nearly as likely" in found.remarks[0]


def test_backslashes_are_folders_as_powershell_writes_them(tmp_path: Path) -> None:
    raw = [b"train\\", b"train\\cat\\0.jpg", b"train\\dog\\0.jpg", "train\\犬\\猫.jpg".encode("cp932")]
    names, found = unpacked(raw_zip(tmp_path / "upload", raw))
    assert names == {"train/cat/0.jpg", "train/dog/0.jpg", "train/犬/猫.jpg"}
    assert any("Backslashes in 4 names" in remark for remark in found.remarks)


def test_two_spellings_of_one_path_are_refused(tmp_path: Path) -> None:
    from app.storage.errors import ArchiveError

    with pytest.raises(ArchiveError, match="twice"):
        unpacked(raw_zip(tmp_path / "upload", [b"a\\b.jpg", b"a/b.jpg"]))


def test_icons_of_folders_are_left_out_and_counted(tmp_path: Path) -> None:
    names, found = unpacked(
        raw_zip(tmp_path / "upload", [b"cat/Icon\r", b"__MACOSX/cat/._Icon\r", b"cat/1.jpg"])
    )
    assert names == {"cat/1.jpg"}
    assert found.files == 1
    assert found.remarks == ["2 icons of macOS folders were left out."]


def test_names_hold_the_spaces_and_joiners_that_systems_write(tmp_path: Path) -> None:
    written = {"Screenshot at 1.02\u202fPM.png", "a\u00a0b.png", "👩\u200d🌾/1.png"}
    names, _ = unpacked(raw_zip(tmp_path / "upload", [name.encode() for name in written], flags=0x800))
    assert names == written


def test_the_bounded_child_hands_on_what_was_guessed(tmp_path: Path) -> None:
    raw_zip(tmp_path / "upload", [f"{label}/1.jpg".encode("cp932") for label in ("猫", "犬")])
    found = unpack_bounded(tmp_path / "upload", tmp_path / "out", Settings())
    assert names_of(tmp_path / "out") == {"猫/1.jpg", "犬/1.jpg"}
    assert found.files == 2
    assert "Shift-JIS" in found.remarks[0]
