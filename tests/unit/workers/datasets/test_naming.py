"""Which file a name means, and when that cannot be said."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from workers.datasets.naming import FileNames, UnmatchedNameError, exact_id, id_key


@contextmanager
def names(folder: Path, *files: str) -> Iterator[FileNames]:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    with closing(FileNames(folder)) as found:
        yield found


@pytest.mark.parametrize(
    ("same", "key"),
    [
        ((3, 3.0, "3", "3.0", "0003", " 3 ", "+3"), "3"),
        ((0, "0", "000", "0.0"), "0"),
        ((-4, "-4", -4.0), "-4"),
    ],
)
def test_ids_that_are_one(same: tuple[object, ...], key: str) -> None:
    assert {id_key(value) for value in same} == {key}


def test_ids_that_are_none_or_words() -> None:
    assert [id_key(value) for value in (None, True, [], {}, "", float("nan"))] == [None] * 6
    assert [id_key(value) for value in ("3a", "1e5", "2.5", 2.5)] == ["3a", "1e5", "2.5", "2.5"]
    assert (exact_id("0003"), exact_id(3), exact_id(None)) == ("0003", "3", None)


def test_the_end_of_a_path_decides_where_it_is_the_only_one(tmp_path: Path) -> None:
    with names(tmp_path, "photos/a/1.jpg", "photos/b/1.jpg", "photos/a/2.jpg") as found:
        assert found.find("/home/me/a/1.jpg", ".") == "photos/a/1.jpg"
        assert found.find(r"C:\data\photos\b\1.jpg", ".") == "photos/b/1.jpg"
        assert found.find("2.jpg", ".") == "photos/a/2.jpg"
        with pytest.raises(
            UnmatchedNameError, match=r"'1\.jpg' could be 'photos/a/1\.jpg' or 'photos/b/1\.jpg'"
        ):
            found.find("1.jpg", ".")
        assert [remark.sentence for remark in found.remarks()] == [
            "3 images were found by the end of the path that names them, such as '/home/me/a/1.jpg' as "
            "'photos/a/1.jpg'"
        ]


def test_an_image_that_is_missing_from_its_folder_is_no_other_of_its_name(tmp_path: Path) -> None:
    with names(tmp_path, "train/cat/7.jpg", "train/dog/1.jpg", "test/dog/3.jpg", "flat.jpg") as found:
        for name in ("train/cat/1.jpg", "/home/me/cat/1.jpg", "train/dog/3.jpg", "cat/1", "training/3.jpg"):
            with pytest.raises(UnmatchedNameError, match="is not there"):
                found.find(name, ".")
        assert found.find("a/flat.jpg", ".") == "flat.jpg"
        with pytest.raises(
            UnmatchedNameError, match="is not there"
        ):  # of two of one name only one came along
            found.find("b/flat.jpg", ".")


def test_case_and_composition_of_letters(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Äpfel/Grüße.JPG") for form in ("NFC", "NFD"))
    with names(tmp_path, apart, "b/Straße.png", "c/x.jpg", "c/X.jpg") as found:
        assert found.find(composed, ".") == apart
        assert found.find(composed.lower(), ".") == apart
        assert found.find("B/STRASSE.PNG", ".") == "b/Straße.png"
        assert (found.find("c/x.jpg", "."), found.find("c/X.jpg", ".")) == ("c/x.jpg", "c/X.jpg")
        assert found.find("/other/c/X.jpg", ".") == "c/X.jpg"
        with pytest.raises(UnmatchedNameError, match="could be"):
            found.find("c/x.JPG", ".")
    with names(tmp_path / "2", composed) as found:
        assert found.find(apart, ".") == composed


def test_stems_and_numbers(tmp_path: Path) -> None:
    with names(tmp_path, "0007.jpg", "a/0012.jpg", "b/x1.png", "c/x1.png") as found:
        assert found.find("0007", ".") == "0007.jpg"
        assert found.find("7", ".") == "0007.jpg"
        assert found.find("12.0", ".") == "a/0012.jpg"
        assert found.find("0007.bmp", ".") == "0007.jpg"
        assert found.find("b/x1.jpg", ".") == "b/x1.png"
        with pytest.raises(UnmatchedNameError, match="could be"):
            found.find("x1", ".")


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "/", "\\", "../../etc/passwd", "\0", "n" * 9_999, "%00", "a" * 300]
)
def test_names_that_mean_nothing(tmp_path: Path, name: str) -> None:
    with names(tmp_path, "a.jpg") as found, pytest.raises(UnmatchedNameError, match="is not there"):
        found.find(name, ".", "images")


def test_a_link_out_of_the_folder_is_found_by_no_name(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    with names(tmp_path / "data", "a.jpg") as found:
        for name in ("in/link.jpg", "link.jpg", "LINK.JPG", "link", "../secret.jpg"):
            with pytest.raises(UnmatchedNameError):
                found.find(name, ".")
