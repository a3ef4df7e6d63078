"""Which column is the image or the split, which folders are labels, and which labels are one: stated or refused."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.folders.layout import AmbiguousFoldersError, read_layout
from app.jobs.errors import NotTrainableError
from workers.datasets import formats
from workers.datasets.formats.folders import OwnSplit
from workers.datasets.records import Record, Refusal, Remark

ROWS = range(6)


def read(
    folder: Path, files: Mapping[str, str], own_split: OwnSplit = "keep"
) -> tuple[dict[str, Record], list[str], list[str]]:
    """Records by image, reasons of refusals, and remarks, of annotations beside 0.jpg to 5.jpg."""
    for name, content in {**{f"{row}.jpg": "x" for row in ROWS}, **files}.items():
        (folder / name).write_text(content, "utf-8")
    found = list(formats.read(folder, formats.detect(folder), own_split=own_split))
    return (
        {entry.path: entry for entry in found if isinstance(entry, Record)},
        [entry.reason for entry in found if isinstance(entry, Refusal)],
        [entry.sentence for entry in found if isinstance(entry, Remark)],
    )


def table(head: str, *rows: str) -> str:
    return "\n".join([head, *rows]) + "\n"


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("id,photo_name,label", "{0},{1}.jpg,l{1}"),
        (",photo_name,label", "{0},{1}.jpg,l{1}"),
        (",whatever,label", "{0},{1}.jpg,l{1}"),
        ("class id,filepaths,labels,data set", "{0},{1}.jpg,l{1},train"),
        ("Unnamed: 0,pic,label", "{0},{1},l{1}"),
        (",pic,label", "{0},{1},l{1}"),
    ],
)
def test_a_file_name_goes_before_a_row_number(tmp_path: Path, head: str, row: str) -> None:
    files = {"a.csv": table(head, *(row.format(number, 5 - number) for number in ROWS))}
    records, refused, _ = read(tmp_path, files)
    assert {path: record.label for path, record in records.items()} == {f"{n}.jpg": f"l{n}" for n in ROWS}
    assert refused == []


def test_an_index_of_file_names_is_read_and_one_of_numbers_is_not(tmp_path: Path) -> None:
    records, _, _ = read(tmp_path, {"a.csv": table(",label", *(f"{n}.jpg,l{n}" for n in ROWS))})
    assert records["3.jpg"].label == "l3"
    with pytest.raises(NotTrainableError):
        read(tmp_path, {"a.csv": table(",label", *(f"{n},l{n}" for n in ROWS))})


def test_two_columns_of_images_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    rows = [f"{n}.jpg,{5 - n}.jpg,l{n}" for n in ROWS]
    with pytest.raises(NotTrainableError, match="'before' and 'after' both name images"):
        read(tmp_path, {"a.csv": table("before,after,label", *rows)})
    records, _, _ = read(tmp_path, {"a.csv": table("before,image,label", *rows)})
    assert records["5.jpg"].label == "l0"


SPLITS = ("train", "train", "train", "valid", "test", "test")
WANTED = ["train", "train", "train", "validation", "test", "test"]


@pytest.mark.parametrize(
    "title", ["data set", "dataset", "mode", "stage", "splits", "train_test", "usage", "foo"]
)
def test_a_column_of_splits_is_the_split(tmp_path: Path, title: str) -> None:
    rows = [f"{n}.jpg,l{n},{SPLITS[n]}" for n in ROWS]
    records, refused, remarks = read(tmp_path, {"a.csv": table(f"image,label,{title}", *rows)})
    assert ([records[f"{n}.jpg"].split for n in ROWS], refused) == (WANTED, [])
    known = title in ("splits", "train_test", "usage")
    said = f"split read from the column '{title.replace(' ', '_')}' of a.csv"
    assert remarks == ([] if known else [said])


@pytest.mark.parametrize("yes_no", [("True", "False"), ("1", "0")])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_flags_say_the_split(tmp_path: Path, kind: str, yes_no: tuple[str, str]) -> None:
    flags = [(yes_no[n != 3], yes_no[n < 4]) for n in ROWS]
    rows = [
        {"image": f"{n}.jpg", "label": f"l{n}", "is_valid": flags[n][0], "is_test": flags[n][1]} for n in ROWS
    ]
    text = (
        table(",".join(rows[0]), *(",".join(row.values()) for row in rows))
        if kind == "csv"
        else "\n".join(map(json.dumps, rows))
    )
    records, _, remarks = read(tmp_path, {f"a.{kind}": text})
    assert [records[f"{n}.jpg"].split for n in ROWS] == WANTED
    assert f"split read from the column 'is_test' of a.{kind}" in remarks


def test_aliases_and_flags_of_json_rows(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.jpg", "label": "a", "mode": SPLITS[n]} for n in ROWS[:4]]
    more = [{"image": f"{n}.jpg", "label": "a", "is_train": False} for n in ROWS[4:]]
    records, _, remarks = read(tmp_path, {"a.json": json.dumps(rows + more)})
    assert [records[f"{n}.jpg"].split for n in ROWS] == WANTED
    assert "split read from the column 'mode' of a.json" in remarks


def test_public_and_private_tests_are_validation_and_test(tmp_path: Path) -> None:
    usage = ["Training"] * 3 + ["PublicTest"] + ["PrivateTest"] * 2
    rows = [f"{n}.jpg,l{n},{usage[n]}" for n in ROWS]
    records, _, remarks = read(tmp_path, {"a.csv": table("image,label,Usage", *rows)})
    assert [records[f"{n}.jpg"].split for n in ROWS] == WANTED
    assert "the split 'PublicTest' was taken as validation" in remarks


def test_splits_none_of_which_is_known_are_refused_with_the_choice(tmp_path: Path) -> None:
    files = {"a.csv": table("image,label,split", *(f"{n}.jpg,l{n},{n % 3}" for n in ROWS))}
    with pytest.raises(NotTrainableError, match=r"'0', '1', '2' are no train.*own_split=ignore"):
        read(tmp_path, files)
    records, _, _ = read(tmp_path, files, "ignore")
    assert {record.split for record in records.values()} == {None}
    assert len(records) == len(ROWS)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (("folds/fold1", "folds/fold2"), ("cat", "dog")),
        (("batch_1", "batch_2"), ("healthy", "rust")),
        (("Trainingsdaten", "Testdaten"), ("hund", "katze")),
    ],
)
def test_equal_folders_below_each_are_no_guess(outer: tuple[str, ...], inner: tuple[str, ...]) -> None:
    images = {f"{around}/{label}": 3 for around in outer for label in inner}
    with pytest.raises(AmbiguousFoldersError, match=r"labels_from=top .* labels_from=parent"):
        read_layout(images)
    assert {place.label for place in read_layout(images, "parent").places.values()} == set(inner)
    assert len({place.label for place in read_layout(images, "top").places.values()}) == len(outer)


def test_labels_that_look_the_same_are_one(tmp_path: Path) -> None:
    spelt = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = [f"{n}.jpg,{spelt[n % 2]}" for n in ROWS]
    records, _, _ = read(tmp_path, {"a.csv": table("image,label", *rows)})
    assert {record.label for record in records.values()} == {spelt[0]}
    layout = read_layout({spelt[0]: 2, spelt[1]: 3, "tea": 1})
    assert {place.label for place in layout.places.values()} == {spelt[0], "tea"}
    assert layout.sentences == ("2 classes from folders",)


def test_cells_that_tools_leave_empty_are_no_labels(tmp_path: Path) -> None:
    said = ["cat", "nan", "None", "NULL", "N/A", "NaN"]
    rows = [f"{n}.jpg,{said[n]}" for n in ROWS]
    for title in ("label", "diagnosis"):
        records, refused, _ = read(tmp_path, {"a.csv": table(f"image,{title}", *rows)})
        assert list(records) == ["0.jpg"]
        assert [reason.startswith("it has no label") for reason in refused] == [True] * 5


def test_whole_numbers_are_one_label_however_written(tmp_path: Path) -> None:
    tables = {
        "a.csv": table("image,label", "0.jpg,0.0", "1.jpg,1.0"),
        "b.csv": table("image,label", "2.jpg,0", "3.jpg,1"),
    }
    records, _, remarks = read(tmp_path, tables)
    assert [records[f"{n}.jpg"].label for n in range(4)] == ["0", "1", "0", "1"]
    assert "the labels are numbers: those such as 1.0 were read as whole ones" in remarks
    tables["b.csv"] = table("image,label", "2.jpg,v1.0", "3.jpg,1")
    records, _, remarks = read(tmp_path, tables)
    assert [records[f"{n}.jpg"].label for n in range(4)] == ["0.0", "1.0", "v1.0", "1"]
    assert not any("numbers" in remark for remark in remarks)
