"""Which split (train, validation or test) the name of a folder, a file or a column's value stands for."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_NEUTRAL = re.compile(
    "(set|split|part|subset|fold|data|dataset|folder|dir|file|list|meta|metadata|info|image|img|picture|pic|photo"
    "|sample|example|record|row|annotation|ann|anno|annot|label|class|classes|caption|instance|person|keypoint"
    "|stuff|panoptic|box|boxes|bbox|bboxes|detection|classification|mscoco|coco|voc|yolo|json|jsonl|csv|question"
    "|answer|qa|vqa|open|ended|multiple|choice|conversation|chat|instruct|instruction|sft|v|ver|version)s?"
    "|categor(y|ies)|annotated|labell?ed|final|full|mini|small|new|clean|cleaned|raw|resized|original"
)
"""Words that say what a file or folder holds, or in which state; beside a split's name they change nothing."""
_SHARD = re.compile(r"[-_.]\d{2,}-of-\d{2,}.*$")
"""`train-00000-of-00005`, and what follows it, as Hugging Face numbers the pieces of a split."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SPLIT_WORD = re.compile(rf"(?i)(?<![^\W_])({'|'.join(_WORDS)})(set)?(?![^\W_])")
_LETTERS = re.compile(r"[^\W\d_]+")


def split_named(name: str) -> Split | None:
    """The split that a folder's name or a column's value stands for as a whole: `val`, `Train`, `test_set`,
    `train2017`, `training-00000-of-00002`; None for a name that merely holds such a word (`latest`, `crash_test`).
    """
    words = _words(name)
    return _one_split([word for word in words if not _NEUTRAL.fullmatch(word)])


def split_of_folders(path: str) -> Split | None:
    """The split of the nearest folder around a file (`/` between the parts) whose name stands for one."""
    for name in reversed(PurePosixPath(path).parts[:-1]):
        split = split_named(name)
        if split is not None:
            return split
    return None


def split_of_path(path: str, others: Collection[str] = ()) -> Split | None:
    """The split of an annotation file by its name, else by the folders around it.

    `others` are the dataset's other annotation files. A name that only begins or ends with a split's word
    (`fruit_test.json`) stands for it where another one does so for another split (`fruit_train.json`), or has the same
    name without it (`fruit.json`): alone it may mean anything.
    """
    name = _stem(path)
    split = split_named(name)
    if split is None:
        split = edge_split(name)
        if split is not None and not any(_is_counterpart(name, split, _stem(other)) for other in others):
            split = None
    return split or split_of_folders(path)


def edge_split(name: str) -> Split | None:
    """The split's word that a name begins or ends with, apart from neutral words: `seg_train`, `test_of_fruit`."""
    words = [word for word in _words(name) if not _NEUTRAL.fullmatch(word)]
    return _WORDS.get(words[-1]) or _WORDS.get(words[0]) if words else None


def without_split(name: str) -> str:
    """A name without the words that name a split: `cat` of `cat_train`."""
    rest = _SPLIT_WORD.sub("", name)
    return re.sub(r"([-_. ])[-_. ]+", r"\1", rest).strip("-_. ")


def _is_counterpart(name: str, split: Split, other: str) -> bool:
    if name == other:
        return False
    named = split_named(other) or edge_split(other)
    return named != split if named is not None else without_split(name) == without_split(other)


def _one_split(words: list[str]) -> Split | None:
    """The split that words stand for of which each names one: `test-dev` is for tests, `train_val` to train on, and
    `train_test` is no split but holds several.
    """
    named = {_WORDS.get(word) for word in words}
    if not named or None in named or {"train", "test"} <= named:
        return None
    return next(split for split in ("test", "train", "validation") if split in named)


def _words(name: str) -> list[str]:
    """The words of a name in small letters, `trainset` and `TestImages` taken apart, without digits."""
    words = []
    for word in _LETTERS.findall(_CAMEL.sub(" ", _SHARD.sub("", name.strip()))):
        small = word.casefold()
        words.append(small.removesuffix("set") if small.removesuffix("set") in _WORDS else small)
    return words


def _stem(path: str) -> str:
    """A file's name without its suffixes: `_annotations.coco` is no name of its own."""
    return PurePosixPath(path).name.partition(".")[0] or PurePosixPath(path).name
