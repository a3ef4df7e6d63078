"""What a job learns from: a snapshot of a collection or a dataset's manifest, and the images behind it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from app.folders.splits import Split as Split
from app.heads import LabelShares
from app.methods.tasks import Task


@dataclass(frozen=True, slots=True)
class Item:
    """One example. Without a split of its own the method splits; which of the texts are set follows the task:
    classification has `label`, captions have `answer`, questions `question` and `answer`; labels that are taught as
    answers have all three.
    """

    sha256: str
    """Of the image in the blob store."""
    split: Split | None = None
    label: str | None = None
    question: str | None = None
    answer: str | None = None


class Examples:
    """Items in a fixed order (by image, then text), so that one seed gives one run."""

    def __init__(
        self,
        task: Task,
        items: Sequence[Item],
        read: Callable[[str], bytes],
        *,
        descriptions: dict[str, str] | None = None,
        source: str = "",
        label_shares: LabelShares = "equal",
    ) -> None:
        """`read` gives an image's stored bytes and raises FileNotFoundError for one that was deleted since."""
        self.task = task
        self.items = tuple(
            sorted(
                items,
                key=lambda item: (item.sha256, item.label or "", item.question or "", item.answer or ""),
            )
        )
        self.descriptions = descriptions or {}
        """Label -> what a person wrote about it."""
        self.source = source
        """What the model card says they came from."""
        self.label_shares = label_shares
        """How often each label is expected; by default as in the collection that they came from."""
        self._read = read

    @cached_property
    def labels(self) -> list[str]:
        """Sorted; what a classifier's outputs stand for."""
        return sorted({item.label for item in self.items if item.label is not None})

    @cached_property
    def counts(self) -> Counter[str]:
        """Examples by label."""
        return Counter(item.label for item in self.items if item.label is not None)

    def only(self, items: Sequence[Item]) -> Examples:
        """The same source with these items."""
        return self._replace(self.task, items)

    def expect(self, label_shares: LabelShares) -> Examples:
        """The same examples, whose labels are expected in this way instead of as their collection does."""
        found = self._replace(self.task, self.items)
        found.label_shares = label_shares
        return found

    def ask_for_labels(self, question: str) -> Examples:
        """The same examples as answered questions: `question` about every image, its label as the answer."""
        items = [replace(item, question=question, answer=item.label) for item in self.items]
        return self._replace("vqa", items)

    def _replace(self, task: Task, items: Sequence[Item]) -> Examples:
        return Examples(
            task,
            items,
            self._read,
            descriptions=self.descriptions,
            source=self.source,
            label_shares=self.label_shares,
        )

    def of_split(self, split: Split) -> list[Item]:
        """The items whose split is given and is this one."""
        return [item for item in self.items if item.split == split]

    @property
    def is_split(self) -> bool:
        """Whether the data brought its own split."""
        return any(item.split is not None for item in self.items)

    def image(self, item: Item) -> Image.Image:
        """The stored image, RGB; raises FileNotFoundError."""
        with Image.open(io.BytesIO(self._read(item.sha256)), formats=("JPEG", "PNG", "WEBP")) as opened:
            return opened.convert("RGB")
