"""From a folder of files to a manifest: every image checked once and stored, refusals noted, splits decided.

Knows the order of the steps and what they count; knows nothing of archives, jobs or databases. The first step
appends to files and may stop and go on at any line; the second reads them once whole.
"""

from __future__ import annotations

import io
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from app.errors import VisionError
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, normalise_for_storage
from app.methods.tasks import Task
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
        self._known: OrderedDict[tuple[str, Box | None], _Stored | Refusal] = OrderedDict()

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
                for one, outcome in zip(wave, self._outcomes(wave), strict=True):
                    if isinstance(outcome, Remark):
                        remarks.write(json.dumps(asdict(outcome)) + "\n")
                        continue
                    if isinstance(outcome, Refusal):
                        refused.write(json.dumps(asdict(outcome)) + "\n")
                        continue
                    stored.append(outcome.sha256)
                    accepted.write(json.dumps(_line(one, outcome)) + "\n")
                for file in (accepted, refused, remarks):
                    file.flush()
                done += len(wave)
                yield done, stored

    def _outcomes(self, wave: Sequence[Record | Refusal | Remark]) -> list[_Stored | Refusal | Remark]:
        """One for each: an image that several lines name is read once, as long as they are not too far apart."""
        records = {(one.path, one.box): one for one in wave if isinstance(one, Record)}
        new = [one for key, one in records.items() if key not in self._known]
        for record, outcome in zip(new, self._pool.map(self._one, new), strict=True):
            self._known[record.path, record.box] = outcome
        found = [self._known[one.path, one.box] if isinstance(one, Record) else one for one in wave]
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _one(self, found: Record) -> _Stored | Refusal:
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


def add_remarks(state: Path, sentences: Iterable[str]) -> None:
    """State sentences about the whole dataset; one that is stated already counts once."""
    with (state / REMARKS).open("a") as remarks:
        for sentence in sentences:
            remarks.write(json.dumps(asdict(Remark(sentence))) + "\n")


def _line(found: Record | Refusal | Remark, image: _Stored) -> dict[str, Any]:
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
    """examples, images, bytes, splits, labels (counts by split), refused (counts by reason), duplicates, remarks."""


def finish(state: Path, manifest: Path, report: Path, shares: Sequence[float], seed: int) -> Prepared:
    """Decide the splits and write the manifest (one example a line) and the report of refusals.

    The same image with the same text counts once; an image that has two labels is refused with its second
    one. Images are kept on one side: see `Index.split`. Raises NotTrainableError where nothing is left.
    """
    refused = Counter[str]()
    task = task_of(_records(state))
    duplicates = 0
    (state / _INDEX).unlink(missing_ok=True)
    with closing(Index(state / _INDEX, seed)) as index:
        with report.open("w") as out:
            for line in _lines(state / REFUSED):
                refused[_reason(line["reason"])] += 1
                out.write(json.dumps(line) + "\n")
            for line in _lines(state / ACCEPTED):
                added = index.add(line)
                duplicates += added == "duplicate"
                if added == "mislabelled":
                    refused["the same image has another label elsewhere"] += 1
                    reason = f"the same image is '{index.label_of(line['image'])}'"
                    out.write(json.dumps({"path": line["path"], "reason": reason}) + "\n")
        across = index.split(shares)
        with manifest.open("w") as out:
            for image, split, *texts in index.examples():
                named = zip(("label", "question", "answer"), texts, strict=True)
                said = {name: text for name, text in named if text}
                out.write(json.dumps({"image": image, "split": split, **said}) + "\n")
        summary = {
            **index.summary(),
            "refused": dict(refused.most_common(_MOST_REASONS)),
            "refused_total": refused.total(),
            "duplicates": duplicates,
            "images_on_several_sides": across,
            "remarks": list(dict.fromkeys(line["sentence"] for line in _lines(state / REMARKS))),
        }
    (state / _INDEX).unlink()
    return Prepared(task, summary)


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
