"""Examples of questions or captions as prompts and answers: which are taught, which are held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from app.inference.prompts import Prompt, Task
from app.jobs.errors import NotTrainableError
from app.media.augmentation import AugmentationSettings
from app.methods.tasks import MIN_ANSWERS_TO_HOLD_OUT
from workers.methods.common.splits import check_training_labels
from workers.shared.examples import Examples, Item
from workers.shared.splitting import split_strata

MIN_TRAINING_ITEMS = 2
_CACHED_IMAGES = 256
MILD = AugmentationSettings(rotation=5, brightness=0.1, noise=0.01, crop=0.1)
"""Answers may depend on what is at the edge, on sizes and on shades."""


@dataclass(frozen=True)
class ItemSplits:
    """Items by use. Where there are none to hold out, `held_out` and `evaluation` are empty."""

    train: list[Item]
    held_out: list[Item]
    """What the best checkpoint is chosen by."""
    evaluation: list[Item]
    """What the evaluation is made on: the data's own test split, or the held-out items."""


class VlmItems:
    """The examples of one job that teach questions or captions."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self.task: Task = "caption" if examples.task == "caption" else "vqa"
        self.labels = examples.labels
        """What the answers are, where labels are taught as answers; else empty."""
        self.image = lru_cache(_CACHED_IMAGES)(examples.image)

    @staticmethod
    def check(examples: Examples) -> None:
        """Raises NotTrainableError for what cannot be taught."""
        if examples.task not in ("vqa", "caption"):
            raise NotTrainableError(
                "A vision-language model learns from questions or captions; labels are taught as answers to one."
            )
        if any(not (item.answer or "").strip() for item in examples.items):
            raise NotTrainableError("Every example needs an answer to learn.")
        if examples.task == "vqa" and any(not (item.question or "").strip() for item in examples.items):
            raise NotTrainableError("Every example needs a question.")
        if examples.labels:
            check_training_labels(examples)
        taught = examples.of_split("train") if examples.is_split else examples.items
        if len(taught) < MIN_TRAINING_ITEMS:
            raise NotTrainableError(
                f"There are {len(taught)} examples to learn from; {MIN_TRAINING_ITEMS} are the least."
            )

    def note(self) -> dict[str, Any]:
        """What `vision.json` says of labels that are taught as answers: which, and to what question."""
        if not self.labels:
            return {}
        return {"labels": self.labels, "question": self._examples.items[0].question}

    def prompt(self, item: Item, max_new_tokens: int, image: Image.Image | None = None) -> Prompt:
        """The item as it is asked when it is served; `image` replaces its own (a changed copy)."""
        picture = self.image(item) if image is None else image
        return Prompt(picture, item.question or "", self.task, max_new_tokens)

    def split_items(self, share: float, seed: int) -> tuple[ItemSplits, int]:
        """What is taught and what is held out, and how many items were left out since their image is gone.

        Without a split of its own, the data gives `share` of its images away: of every label with three images or
        more; without labels nothing below `MIN_ANSWERS_TO_HOLD_OUT` examples, else of every answer that is common
        enough (so that all remain to learn from), or of all images where answers hardly repeat, as captions do. Raises
        NotTrainableError when too few are left.
        """
        present = [item for item in self._examples.items if self._readable(item)]
        gone = len(self._examples.items) - len(present)
        if self._examples.is_split:
            taught = [item for item in present if item.split == "train"]
            held_out = [item for item in present if item.split == "validation"]
            test = [item for item in present if item.split == "test"]
            splits = ItemSplits(taught, held_out or test, test or held_out)
        else:
            if not self.labels and len(present) < MIN_ANSWERS_TO_HOLD_OUT:
                share = 0.0
            split = split_strata(_strata(present), (1 - share, share, 0), seed)
            taught = [item for item in present if split[item.sha256] == "train"]
            held_out = [item for item in present if split[item.sha256] == "validation"]
            splits = ItemSplits(taught, held_out, held_out)
        if len(splits.train) < MIN_TRAINING_ITEMS:
            raise NotTrainableError(
                f"There are {len(splits.train)} examples to learn from; {MIN_TRAINING_ITEMS} are the least."
            )
        return splits, gone

    def _readable(self, item: Item) -> bool:
        try:
            self.image(item)
        except FileNotFoundError:
            return False
        return True


def _strata(items: Sequence[Item]) -> dict[str, str]:
    """Image -> its label, or the commonest of its answers; one stratum of all where most answers occur once."""
    if all(item.label is not None for item in items):
        return {item.sha256: item.label or "" for item in items}
    common = Counter(item.answer or "" for item in items)
    answers: dict[str, str] = {}
    for item in sorted(items, key=lambda item: common[item.answer or ""]):
        answers[item.sha256] = item.answer or ""
    repeated = sum(count for count in Counter(answers.values()).values() if count > 2)
    return answers if 2 * repeated > len(answers) else dict.fromkeys(answers, "")
