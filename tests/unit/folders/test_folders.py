"""What the names of a dataset's folders and files mean: labels, splits, what is looked through and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from app.folders.layout import AmbiguousFoldersError, LabelsFrom, OwnSplit, read_layout
from app.folders.splits import split_named, split_of_folders, split_of_path
from app.folders.walking import Walk

Places = dict[str, tuple[str, str | None]]


def places(
    *folders: str, labels_from: LabelsFrom = "auto", own_split: OwnSplit = "keep"
) -> dict[str, tuple[str, str | None]]:
    """Folder -> label and split, for folders that hold three images each."""
    found = read_layout(Counter(dict.fromkeys(folders, 3)), labels_from, own_split)
    return {folder: (place.label, place.split) for folder, place in found.places.items()}


LAYOUTS: dict[str, tuple[tuple[str, ...], Places]] = {
    "labels": (("cat", "dog"), {"cat": ("cat", None), "dog": ("dog", None)}),
    "one wrapper, loose images beside": (("", "w/a", "w/b"), {"w/a": ("a", None), "w/b": ("b", None)}),
    "two wrappers": (("v", "v/w/a", "v/w/b", "v/w"), {"v/w/a": ("a", None), "v/w/b": ("b", None)}),
    "splits in a wrapper": (
        ("m/train/a", "m/train/b", "m/test/a", "m/test/b"),
        {
            "m/train/a": ("a", "train"),
            "m/train/b": ("b", "train"),
            "m/test/a": ("a", "test"),
            "m/test/b": ("b", "test"),
        },
    ),
    "splits by other names": (
        ("training_set/a", "Valid/a", "test_set/b"),
        {"training_set/a": ("a", "train"), "Valid/a": ("a", "validation"), "test_set/b": ("b", "test")},
    ),
    "splits twice": (
        ("training_set/training_set/a", "training_set/training_set/b", "test_set/test_set/a"),
        {
            "training_set/training_set/a": ("a", "train"),
            "training_set/training_set/b": ("b", "train"),
            "test_set/test_set/a": ("a", "test"),
        },
    ),
    "splits below images": (
        ("images/train/a", "images/dev/a"),
        {"images/train/a": ("a", "train"), "images/dev/a": ("a", "validation")},
    ),
    "images below splits": (
        ("train/images/a", "train/images/b", "test/images/a"),
        {
            "train/images/a": ("a", "train"),
            "train/images/b": ("b", "train"),
            "test/images/a": ("a", "test"),
        },
    ),
    "splits below labels": (
        ("cat/train", "cat/test", "dog/train"),
        {"cat/train": ("cat", "train"), "cat/test": ("cat", "test"), "dog/train": ("dog", "train")},
    ),
    "splits in the labels' names": (
        ("cat_train", "cat_test", "dog_train", "dog_test"),
        {
            "cat_train": ("cat", "train"),
            "cat_test": ("cat", "test"),
            "dog_train": ("dog", "train"),
            "dog_test": ("dog", "test"),
        },
    ),
    "a test split beside the labels": (
        ("cat", "dog", "test/cat", "test/dog"),
        {
            "cat": ("cat", None),
            "dog": ("dog", None),
            "test/cat": ("cat", "test"),
            "test/dog": ("dog", "test"),
        },
    ),
    "splits known by one another": (
        ("seg_train/sea", "seg_train/ice", "seg_test/sea"),
        {
            "seg_train/sea": ("sea", "train"),
            "seg_train/ice": ("ice", "train"),
            "seg_test/sea": ("sea", "test"),
        },
    ),
    "a folder beside splits": (
        ("train/a", "train/b", "test/a", "seg_pred"),
        {"train/a": ("a", "train"), "train/b": ("b", "train"), "test/a": ("a", "test")},
    ),
    "years below labels": (
        ("cat/2019", "cat/2020", "dog/2019"),
        {"cat/2019": ("cat", None), "cat/2020": ("cat", None), "dog/2019": ("dog", None)},
    ),
    "years below the only label": (
        ("cat/2019", "cat/2020"),
        {"cat/2019": ("cat", None), "cat/2020": ("cat", None)},
    ),
    "years above labels": (
        ("2019/cat", "2020/cat", "2020/dog"),
        {"2019/cat": ("cat", None), "2020/cat": ("cat", None), "2020/dog": ("dog", None)},
    ),
    "digits": (("d/0", "d/1"), {"d/0": ("0", None), "d/1": ("1", None)}),
    "sessions below labels": (
        ("cat/session1", "cat/session2", "dog/x"),
        {"cat/session1": ("cat", None), "cat/session2": ("cat", None), "dog/x": ("dog", None)},
    ),
    "a vehicle": (("bus", "train"), {"bus": ("bus", None), "train": ("train", None)}),
    "names that hold a split's": (
        ("latest", "testimonials", "crash_test"),
        {
            "latest": ("latest", None),
            "testimonials": ("testimonials", None),
            "crash_test": ("crash_test", None),
        },
    ),
    "FiftyOne's unlabelled": (("_unlabeled", "cat", "dog"), {"cat": ("cat", None), "dog": ("dog", None)}),
    "no label": (("train", "test"), {}),
    "only images": (("images", ""), {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_and_splits_of_folders(name: str) -> None:
    folders, expected = LAYOUTS[name]
    assert places(*folders) == expected


@pytest.mark.parametrize(
    ("folders", "choices"),
    [
        (
            ("animals/cat", "animals/dog", "plants/fern", "plants/rose"),
            "labels_from=top takes animals, plants",
        ),
        (("flowers/daisy", "flowers/rose", "screenshots"), "labels_from=parent"),
        (("cat", "dog", "test"), "own_split=ignore takes 'test' for a label"),
        (("cat", "dog", "val/x"), "own_split=ignore"),
    ],
)
def test_what_could_mean_two_things_is_refused_with_the_choices(
    folders: tuple[str, ...], choices: str
) -> None:
    with pytest.raises(AmbiguousFoldersError, match=choices):
        places(*folders)


def test_the_choices_are_taken() -> None:
    folders = ("animals/cat", "animals/dog", "plants/fern", "plants/rose")
    assert {label for label, _ in places(*folders, labels_from="top").values()} == {"animals", "plants"}
    assert {label for label, _ in places(*folders, labels_from="parent").values()} == {
        "cat",
        "dog",
        "fern",
        "rose",
    }
    assert places("cat", "dog", "test", own_split="ignore")["test"] == ("test", None)
    assert places("train/a", "test/b", own_split="ignore") == {"train/a": ("a", None), "test/b": ("b", None)}


def test_guesses_are_stated() -> None:
    layout = read_layout({"w/train/a": 3, "w/train/b/2019": 1, "w/test/a": 2, "w/pred": 5})
    assert layout.sentences == (
        "2 classes from folders below w",
        "pred left out (5 images): it is no split as train/test are",
        "folders below the classes carry no label: 2019",
    )
    assert layout.place_of("w/pred") == "beside the splits train/test and in none of them: 'pred'"
    assert layout.place_of("w") == "in no label's folder"


def test_folders_deeper_than_any_recursion_are_read() -> None:
    deep = "cat/" + "/".join("d" * 3_000)
    layout = read_layout({deep: 1, "dog": 1})
    assert getattr(layout.place_of(deep), "label", None) == "cat"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "train2017", "training_set", "trainval", "train_images")
        ),
        *((name, "validation") for name in ("val", "valid", "dev", "Validation Set", "instances_val2017")),
        *(
            (name, "test")
            for name in ("TEST", "testset", "test-dev2017", "test-00000-of-00002", "evaluation")
        ),
        *(
            (name, None)
            for name in ("latest", "testimonials", "coco_test_bench", "train_test", "station", "")
        ),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_named(name) == split


@pytest.mark.parametrize(
    ("path", "others", "split"),
    [
        ("train/_annotations.coco.json", (), "train"),
        ("annotations/instances_val2017.json", (), "validation"),
        ("data/train-00000-of-00001-3f2a.jsonl", (), "train"),
        ("test/metadata.jsonl", (), "test"),
        ("test_labels.csv", (), "test"),
        ("coco_test.json", (), "test"),
        ("coco_test_of_fruit.json", (), None),
        ("latest/metadata.jsonl", (), None),
        ("fruit_test.json", (), None),
        ("fruit_test.json", ("fruit_train.json",), "test"),
        ("fruit_test.json", ("fruit.json",), "test"),
    ],
)
def test_splits_of_annotation_files(path: str, others: tuple[str, ...], split: str | None) -> None:
    assert split_of_path(path, others) == split


def test_an_image_is_of_the_nearest_split() -> None:
    assert split_of_folders("train/x/Test/1.jpg") == "test"
    assert split_of_folders("contest/1.jpg") is None


def test_a_walk_follows_links_inside_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("cat/1.jpg", "more/2.jpg", ".git/config", "Thumbs.db", "__MACOSX/x", "desktop.ini"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "secret.jpg").touch()
    (root / "cat/linked.jpg").symlink_to("../more/2.jpg")
    (root / "dog").symlink_to("more")
    (root / "cat/loop").symlink_to("..")
    (root / "more/there").symlink_to("../cat")
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    walk = Walk(root)
    files = list(walk)
    assert {"cat/1.jpg", "cat/linked.jpg", "dog/2.jpg", "dog/there/1.jpg", "more/2.jpg"} <= set(files)
    assert not any("secret" in file or "config" in file for file in files)
    reasons = {entry.path: entry.reason for entry in walk.left_out}
    assert reasons["out.jpg"] == "a link out of the folder"
    assert reasons["gone.jpg"] == "a link to nothing"
    assert reasons["cat/loop"] == "a link to a folder around it"
    assert reasons[".git"] == "hidden"
    assert {reasons[name] for name in ("Thumbs.db", "__MACOSX", "desktop.ini")} == {"added by a system"}
    assert list(walk) == files
