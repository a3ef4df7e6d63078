"""What a dataset's examples are by image, kept in a scratch file on disk: a million of them take no memory."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workers.shared.examples import Split
from workers.shared.splitting import SPLITS, place_of, shares_of

Added = Literal["new", "duplicate", "mislabelled"]

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE images (
    image TEXT PRIMARY KEY, stratum TEXT, named INTEGER, place BLOB, side INTEGER, size INTEGER, split TEXT
) WITHOUT ROWID;
CREATE TABLE examples (
    image TEXT, question TEXT, answer TEXT, PRIMARY KEY (image, question, answer)
) WITHOUT ROWID;
"""
_BITS: dict[Split, int] = {"train": 1, "validation": 2, "test": 4}
_TAKE = (
    "UPDATE images SET split = ? WHERE image IN "
    "(SELECT image FROM images WHERE stratum = ? AND split = 'train' ORDER BY place LIMIT ?)"
)


@dataclass(frozen=True)
class Splitting:
    """How the images were put into splits."""

    is_own: bool
    """Whether by a split that the data brought."""
    across: int
    """Images that the data put into several splits."""
    remarks: tuple[str, ...]


class Index:
    """Examples by image, on disk. One thread uses it, then closes it."""

    def __init__(self, file: Path, seed: int) -> None:
        """`file` must not exist; `seed` decides which images a split takes."""
        self._seed = seed
        self._base = sqlite3.connect(file, isolation_level=None)
        self._base.executescript(_TABLES)
        self._base.execute("BEGIN")

    def close(self) -> None:
        """Close the file; the owner of its folder removes it."""
        self._base.close()

    def add(self, row: dict[str, Any]) -> Added:
        """Note an accepted line. `mislabelled`: the image has another label already, which `label_of` tells; where
        the line says it shall be is noted all the same.
        """
        image, label = row["image"], row.get("label", "")
        named = _BITS[row["split"]] if "split" in row else 0
        run = self._base.execute
        new = run(
            "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, 'train')",
            (image, label, named, place_of(image, self._seed), row["side"], row["size"]),
        )
        if not new.rowcount:
            if named:
                run("UPDATE images SET named = named | ? WHERE image = ?", (named, image))
            if self.label_of(image) != label:
                return "mislabelled"
        texts = (image, row.get("question", ""), row.get("answer", ""))
        return (
            "new" if run("INSERT OR IGNORE INTO examples VALUES (?, ?, ?)", texts).rowcount else "duplicate"
        )

    def label_of(self, image: str) -> str:
        """The label that the image came with first."""
        found: str = self._fetch_value("SELECT stratum FROM images WHERE image = ?", image)
        return found

    def split(self, shares: Sequence[float]) -> Splitting:
        """Give every image its side.

        The data's own split counts where it says more than `train`: an image of several splits stays where models are
        judged (a test image that a model trained on would flatter it), images that it leaves out train, and where
        it has nothing to choose by, a tenth of those that train is. Otherwise each label is split by `shares`.
        """
        run = self._base.execute
        run("CREATE INDEX placed ON images (stratum, place)")
        if not self._fetch_value("SELECT count(*) FROM images WHERE named > 1"):
            only_train = not self._fetch_value("SELECT count(*) FROM images WHERE named != 1")
            self._take(shares)
            return Splitting(False, 0, ("everything is in train: split anew",) if only_train else ())
        run(
            "UPDATE images SET split = CASE WHEN named & 4 THEN 'test' WHEN named & 2 THEN 'validation' "
            "ELSE 'train' END"
        )
        own = self._splits()
        if not own["validation"]:
            self._take((0.9, 0.1, 0.0))
        across = self._fetch_value("SELECT count(*) FROM images WHERE named NOT IN (0, 1, 2, 4)")
        unnamed = self._fetch_value("SELECT count(*) FROM images WHERE named = 0")
        return Splitting(True, int(across), tuple(_say_split(own, self._splits()["validation"], unnamed)))

    def _splits(self) -> dict[Split, int]:
        """Count the images of each split."""
        found: list[tuple[Split, int]] = self._base.execute(
            "SELECT split, count(*) FROM images GROUP BY split"
        ).fetchall()
        return dict.fromkeys(SPLITS, 0) | dict(found)

    def examples(self) -> Iterator[tuple[str, Split, str, str, str]]:
        """image, side, label, question and answer of each example, sorted by image and texts; "" for none."""
        yield from self._base.execute(
            "SELECT image, split, stratum, question, answer FROM examples JOIN images USING (image) "
            "ORDER BY image, question, answer"
        )

    def summary(self) -> dict[str, Any]:
        """examples, images, bytes, median_side, splits, labels (counts by split) and imbalance."""
        images, size = self._base.execute("SELECT count(*), sum(size) FROM images").fetchone()
        splits = dict.fromkeys(SPLITS, 0)
        labels: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
        counted = self._base.execute(
            "SELECT stratum, split, count(*) FROM examples JOIN images USING (image) GROUP BY 1, 2 ORDER BY 1"
        )
        for label, split, count in counted:
            splits[split] += count
            if label:
                labels[label][split] += count
        totals = [sum(counts.values()) for counts in labels.values()]
        return {
            "examples": sum(splits.values()),
            "images": images,
            "bytes": size,
            "median_side": self._median_side(sum(splits.values())),
            "splits": splits,
            "labels": dict(labels),
            "imbalance": max(totals) / min(totals) if totals else None,
        }

    def _take(self, shares: Sequence[float]) -> None:
        """Of the images that train, each label's `shares` for test and validation."""
        with closing(self._base.cursor()) as cursor:
            strata = cursor.execute(
                "SELECT stratum, count(*) FROM images WHERE split = 'train' GROUP BY stratum"
            ).fetchall()
        for stratum, count in strata:
            validation, test = shares_of(count, shares)
            self._base.execute(_TAKE, ("test", stratum, test))
            self._base.execute(_TAKE, ("validation", stratum, validation))

    def _median_side(self, count: int) -> float:
        """Of each example's shorter side, in pixels."""
        middle = self._base.execute(
            "SELECT side FROM examples JOIN images USING (image) ORDER BY side LIMIT ? OFFSET ?",
            (2 - count % 2, (count - 1) // 2),
        ).fetchall()
        return float(sum(side for (side,) in middle) / len(middle))

    def _fetch_value(self, query: str, *values: Any) -> Any:
        return self._base.execute(query, values).fetchone()[0]


def _say_split(own: dict[Split, int], validation: int, unnamed: int) -> Iterator[str]:
    splits = {split: count for split, count in own.items() if count}
    counts = ", ".join(f"{split} {count}" for split, count in splits.items())
    yield f"own split {'/'.join(splits)} kept: {counts} images"
    if validation and not own["validation"]:
        yield f"{validation} of the {own['train']} images to train on are for validation: the data has none"
    if unnamed:
        yield f"{unnamed} images, of which the data names no split, train"
    if not own["train"]:
        yield "nothing to train on: no image is in train (own_split=ignore splits all of them anew)"
