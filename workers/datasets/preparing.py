"""From a folder of files to a manifest: every image checked once and stored, refusals noted, splits decided.

Knows the order of the steps and what they count; knows nothing of archives, jobs or databases. The first step
appends to files and may stop and go on at any line; the second reads them once whole.
"""

from __future__ import annotations

import io
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from app.errors import InvalidImageError, VisionError
from app.images import ImageLimits, normalise_for_storage
from app.training.spec import Task
from workers.datasets.formats import task_of
from workers.datasets.records import Box, Found, Record, Refusal
from workers.datasets.splitting import SPLITS, one_side, stratified
from workers.examples import Split

ACCEPTED = "accepted.jsonl"
REFUSED = "refused.jsonl"
_WAVE = 64
_MOST_REASONS = 50


@dataclass(frozen=True)
class _Stored:
    sha256: str
    width: int
    height: int
    size: int


class Checker:
    """Checks and stores the images of records, a wave at a time on several threads."""

    def __init__(
        self,
        folder: Path,
        limits: ImageLimits,
        keep: Callable[[bytes], str],
        pool: Executor,
        *,
        max_image_bytes: int,
    ) -> None:
        """`keep` stores an image's bytes and returns their SHA-256; it is called on the pool's threads."""
        self._folder = folder
        self._limits = limits
        self._keep = keep
        self._pool = pool
        self._max_bytes = max_image_bytes

    def check(self, found: Found, state: Path, *, done: int) -> Iterator[tuple[int, list[str]]]:
        """Go on after the first `done` of `found`, appending to the two files in `state`.

        After every wave yields how many are done by then and the images that it stored; the files hold
        exactly these when it does.
        """
        rest = islice(found, done, None)
        with (state / ACCEPTED).open("a") as accepted, (state / REFUSED).open("a") as refused:
            while wave := list(islice(rest, _WAVE)):
                stored: list[str] = []
                for one, outcome in zip(wave, self._pool.map(self._one, wave), strict=True):
                    if isinstance(outcome, Refusal):
                        refused.write(json.dumps(asdict(outcome)) + "\n")
                        continue
                    stored.append(outcome.sha256)
                    accepted.write(json.dumps(_line(one, outcome)) + "\n")
                accepted.flush()
                refused.flush()
                done += len(wave)
                yield done, stored

    def _one(self, found: Record | Refusal) -> _Stored | Refusal:
        if isinstance(found, Refusal):
            return found
        path = self._folder / found.path
        try:
            if path.stat().st_size > self._max_bytes:
                return Refusal(found.path, f"larger than {self._max_bytes >> 20} MiB")
            data = path.read_bytes()
            if found.box is not None:
                data = _cropped(data, found.box, self._limits)
            image = normalise_for_storage(data, self._limits)
        except VisionError as error:
            return Refusal(found.path, error.detail)
        return _Stored(self._keep(image.bytes), image.width, image.height, len(image.bytes))


def _cropped(data: bytes, box: Box, limits: ImageLimits) -> bytes:
    """The region as PNG; raises InvalidImageError where it lies outside the image."""
    with Image.open(io.BytesIO(normalise_for_storage(data, limits).bytes)) as image:
        left, top = max(0, round(box.left)), max(0, round(box.top))
        right = min(image.width, round(box.left + box.width))
        bottom = min(image.height, round(box.top + box.height))
        if right <= left or bottom <= top:
            raise InvalidImageError("its box lies outside the image")
        buffer = io.BytesIO()
        image.crop((left, top, right, bottom)).convert("RGB").save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def _line(found: Record | Refusal, image: _Stored) -> dict[str, Any]:
    texts = {
        key: value
        for key, value in asdict(found).items()
        if key in ("path", "split", "label", "question", "answer") and value is not None
    }
    return {**texts, "image": image.sha256, "side": min(image.width, image.height), "size": image.size}


@dataclass(frozen=True)
class Prepared:
    """What the manifest holds."""

    task: Task
    summary: dict[str, Any]
    """examples, images, bytes, splits, labels (counts by split), refused (counts by reason), duplicates."""


def finish(state: Path, manifest: Path, report: Path, shares: Sequence[float], seed: int) -> Prepared:
    """Decide the splits and write the manifest (one example a line) and the report of refusals.

    The same image with the same text counts once; an image that has two labels is refused with its second
    one. Images are kept on one side: see `workers.datasets.splitting`. Raises NotTrainableError where nothing
    is left.
    """
    refused = Counter[str]()
    task = task_of(_records(state))
    first: dict[str, str] = {}
    named: defaultdict[str, set[Split]] = defaultdict(set)
    duplicates = 0
    seen: set[tuple[str, ...]] = set()
    rows: list[dict[str, Any]] = []
    with report.open("w") as out:
        for line in _lines(state / REFUSED):
            refused[_reason(line["reason"])] += 1
            out.write(json.dumps(line) + "\n")
        for line in _lines(state / ACCEPTED):
            image, label = line["image"], line.get("label", "")
            if "split" in line:
                named[image].add(line["split"])
            if first.setdefault(image, label) != label:
                refused["the same image has another label elsewhere"] += 1
                out.write(
                    json.dumps({"path": line["path"], "reason": f"the same image is '{first[image]}'"}) + "\n"
                )
                continue
            text = (image, label, line.get("question", ""), line.get("answer", ""))
            if text in seen:
                duplicates += 1
                continue
            seen.add(text)
            rows.append(line)
    sides, across = one_side(named)
    kept = {row["image"] for row in rows}
    strata = {image: first[image] for image in sorted(kept)}
    sides = _completed(sides, strata, shares, seed)
    with manifest.open("w") as out:
        for row in sorted(
            rows, key=lambda row: (row["image"], row.get("question", ""), row.get("answer", ""))
        ):
            texts = {key: row[key] for key in ("label", "question", "answer") if key in row}
            out.write(json.dumps({"image": row["image"], "split": sides[row["image"]], **texts}) + "\n")
    return Prepared(task, _summary(rows, sides, refused, duplicates, across))


def _completed(
    named: dict[str, Split], strata: dict[str, str], shares: Sequence[float], seed: int
) -> dict[str, Split]:
    """A split for every image: the data's own where it says more than `train`, else by shares.

    Images that the data leaves out train; where it has nothing to choose by, a tenth of those that train is.
    """
    if set(named.values()) <= {"train"}:
        return stratified(strata, shares, seed)
    sides: dict[str, Split] = {image: named.get(image, "train") for image in strata}
    if "validation" not in sides.values():
        training = {image: strata[image] for image, side in sides.items() if side == "train"}
        sides |= stratified(training, (0.9, 0.1, 0.0), seed)
    return sides


def _summary(
    rows: Sequence[dict[str, Any]],
    sides: dict[str, Split],
    refused: Counter[str],
    duplicates: int,
    across: int,
) -> dict[str, Any]:
    splits = Counter(sides[row["image"]] for row in rows)
    labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if "label" in row:
            labels[row["label"]][sides[row["image"]]] += 1
    totals = [counts.total() for counts in labels.values()]
    sizes = {row["image"]: row["size"] for row in rows}
    return {
        "examples": len(rows),
        "images": len(sizes),
        "bytes": sum(sizes.values()),
        "median_side": statistics.median(row["side"] for row in rows),
        "splits": {split: splits[split] for split in SPLITS},
        "labels": {
            label: {split: counts[split] for split in SPLITS} for label, counts in sorted(labels.items())
        },
        "imbalance": max(totals) / min(totals) if totals else None,
        "refused": dict(refused.most_common(_MOST_REASONS)),
        "refused_total": refused.total(),
        "duplicates": duplicates,
        "images_on_several_sides": across,
    }


def _reason(text: str) -> str:
    """A refusal's reason without what is particular to the file."""
    head, quote, _ = text.partition("'")
    return f"{head.rstrip()} ..." if quote else text


def _records(state: Path) -> Iterator[Record]:
    for line in _lines(state / ACCEPTED):
        yield Record(
            line["path"], label=line.get("label"), question=line.get("question"), answer=line.get("answer")
        )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open() as lines:
            for line in lines:
                yield json.loads(line)
