"""From a folder of files to a manifest: every image checked once and stored, refusals noted, splits decided.

The first step appends to files and may stop and go on at any line; the second reads them once whole.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from app.errors import VisionError
from app.folders.splits import SPLITS
from app.jobs.errors import NotTrainableError
from app.media.images import ImageLimits, normalise_for_storage
from app.methods.tasks import Task
from workers.datasets.crops import Cropper
from workers.datasets.formats import task_of
from workers.datasets.index import Index
from workers.datasets.records import Box, Found, Record, Refusal, Remark

ACCEPTED = "accepted.jsonl"
REFUSED = "refused.jsonl"
REMARKS = "remarks.jsonl"
STATE_FILES = (ACCEPTED, REFUSED, REMARKS)
_INDEX = "index.sqlite"
_WAVE = 64
_REMEMBERED = 20_000
"""Images whose outcome is kept for further lines about them."""
_MAX_REASONS = 50
"""Reasons that a summary counts."""
_MAX_REASONS_SAID = 3


@dataclass(frozen=True)
class _StoredImage:
    sha256: str
    width: int
    height: int
    size: int
    changes: tuple[str, ...] = ()
    """What had to be done to its box."""


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
        self._cropper = Cropper(limits)
        self._known: OrderedDict[tuple[str, Box | None], _StoredImage | Refusal] = OrderedDict()

    def check(self, found: Found, state: Path, *, done: int) -> Iterator[tuple[int, list[str]]]:
        """Go on after the first `done` of `found`, appending to the files in `state`.

        After every wave yields how many are done by then and the images that it stored; the files hold
        exactly these when it does.
        """
        rest = islice(found, done, None)
        with ExitStack() as stack:
            accepted, refused, remarks = (
                stack.enter_context((state / name).open("a")) for name in STATE_FILES
            )
            while wave := list(islice(rest, _WAVE)):
                stored: list[str] = []
                for item, outcome in zip(wave, self._outcomes(wave), strict=True):
                    if isinstance(outcome, Remark):
                        remarks.write(json.dumps(asdict(outcome)) + "\n")
                        continue
                    if isinstance(outcome, Refusal):
                        refused.write(json.dumps(asdict(outcome)) + "\n")
                        continue
                    stored.append(outcome.sha256)
                    for sentence in outcome.changes:
                        remarks.write(json.dumps(asdict(Remark(sentence, 1))) + "\n")
                    accepted.write(json.dumps(_line(item, outcome)) + "\n")
                for file in (accepted, refused, remarks):
                    file.flush()
                done += len(wave)
                yield done, stored

    def _outcomes(self, wave: Sequence[Record | Refusal | Remark]) -> list[_StoredImage | Refusal | Remark]:
        """One for each: an image that several lines name is read once, as long as they are not too far apart."""
        records = {(item.path, item.box): item for item in wave if isinstance(item, Record)}
        new = [record for key, record in records.items() if key not in self._known]
        for record, outcome in zip(new, self._pool.map(self._check_image, new), strict=True):
            self._known[record.path, record.box] = outcome
        found = [self._known[item.path, item.box] if isinstance(item, Record) else item for item in wave]
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _check_image(self, found: Record) -> _StoredImage | Refusal:
        path = self._folder / found.path
        try:
            if path.stat().st_size > self._max_bytes:
                return Refusal(found.path, f"larger than {self._max_bytes >> 20} MiB")
            data = path.read_bytes()
            done: tuple[str, ...] = ()
            if found.box is not None:
                crop = self._cropper.cut(data, found.box)
                data, done = crop.png, crop.changes
            image = normalise_for_storage(data, self._limits)
        except VisionError as error:
            return Refusal(found.path, error.detail)
        return _StoredImage(self._keep(image.bytes), image.width, image.height, len(image.bytes), done)


def add_remarks(state: Path, sentences: Iterable[str]) -> None:
    """State sentences about the whole dataset; one that is stated already counts once."""
    with (state / REMARKS).open("a") as remarks:
        for sentence in sentences:
            remarks.write(json.dumps(asdict(Remark(sentence))) + "\n")


def _line(found: Record | Refusal | Remark, image: _StoredImage) -> dict[str, Any]:
    texts = {
        key: value
        for key, value in asdict(found).items()
        if key in ("path", "split", "label", "question", "answer") and value is not None
    }
    return {**texts, "image": image.sha256, "side": min(image.width, image.height), "size": image.size}


@dataclass(frozen=True)
class PreparedDataset:
    """What the manifest holds."""

    task: Task
    summary: dict[str, Any]
    """examples, images, bytes, splits, labels (counts by split), own_split, refused (counts by reason), duplicates,
    remarks."""


class UnusableError(NotTrainableError):
    """A dataset of which nothing can be used, or which teaches several things; the report is written all the same."""

    def __init__(self, detail: str, summary: dict[str, Any]) -> None:
        """`summary` counts what was refused."""
        super().__init__(detail)
        self.summary = summary


def finish(state: Path, manifest: Path, report: Path, shares: Sequence[float], seed: int) -> PreparedDataset:
    """Decide the splits and write the manifest (one example a line) and the report of refusals.

    The same image with the same text counts once; an image that has two labels is refused with its second
    one. Images are kept on one side: see `Index.split`. Raises UnusableError where nothing is left.
    """
    refused = Counter[str]()
    with report.open("w") as out:
        for line in _lines(state / REFUSED):
            refused[_reason(line["reason"])] += 1
            out.write(json.dumps(line) + "\n")
    try:
        task = task_of(_records(state))
    except NotTrainableError as error:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in refused.most_common(_MAX_REASONS_SAID))
        detail = f"{error.detail} Refused: {reasons}." if reasons else error.detail
        raise UnusableError(detail, empty_summary(refused, _remarks(state))) from None
    duplicates = 0
    (state / _INDEX).unlink(missing_ok=True)
    with closing(Index(state / _INDEX, seed)) as index:
        with report.open("a") as out:
            for line in _lines(state / ACCEPTED):
                added = index.add(line)
                duplicates += added == "duplicate"
                if added == "mislabelled":
                    refused["the same image has another label elsewhere"] += 1
                    reason = f"the same image is '{index.label_of(line['image'])}'"
                    out.write(json.dumps({"path": line["path"], "reason": reason}) + "\n")
        splitting = index.split(shares)
        with manifest.open("w") as out:
            for image, split, *texts in index.examples():
                named = zip(("label", "question", "answer"), texts, strict=True)
                said = {name: text for name, text in named if text}
                out.write(json.dumps({"image": image, "split": split, **said}) + "\n")
        summary = {
            **empty_summary(refused, [*_remarks(state), *splitting.remarks]),
            **index.summary(),
            "own_split": splitting.is_own,
            "duplicates": duplicates,
            "images_on_several_sides": splitting.across,
        }
    (state / _INDEX).unlink()
    return PreparedDataset(task, summary)


def empty_summary(refused: Counter[str], remarks: list[str]) -> dict[str, Any]:
    """The summary of a dataset without an example: what was refused, and what there is to say."""
    return {
        "examples": 0,
        "images": 0,
        "splits": dict.fromkeys(SPLITS, 0),
        "labels": {},
        "own_split": False,
        "refused": dict(refused.most_common(_MAX_REASONS)),
        "refused_total": refused.total(),
        "duplicates": 0,
        "images_on_several_sides": 0,
        "remarks": remarks,
    }


def _remarks(state: Path) -> list[str]:
    """Each sentence once, with how often it was said where that was counted."""
    counts: dict[str, int | None] = {}
    for line in _lines(state / REMARKS):
        count = line.get("count")
        counts[line["sentence"]] = count and count + (counts.get(line["sentence"]) or 0)
    return [sentence if count is None else f"{sentence}: {count}" for sentence, count in counts.items()]


def _reason(text: str) -> str:
    """A refusal's reason without what is particular to the file."""
    head, quote, rest = text.partition("'")
    return (
        " ".join(part for part in (head.strip(), "...", rest.rpartition("'")[2].strip()) if part)
        if quote
        else text
    )


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
