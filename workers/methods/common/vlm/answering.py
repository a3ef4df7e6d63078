"""What a model in training says to examples, and how often that is right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch

from app.inference.prompts import Answer, Generation
from app.jobs.errors import NotTrainableError
from workers.methods.common.vlm.items import ItemSplits, VlmItems
from workers.methods.common.vlm.kept_images import KeptImages
from workers.methods.common.vlm.labels import LabelScorer
from workers.methods.common.vlm.lessons import Lessons
from workers.shared import metrics
from workers.shared.examples import Item
from workers.shared.method import Judgement
from workers.shared.metrics import NOT_JUDGED

SPARE_TOKENS = 4
"""Tokens beyond the longest known answer, so that a longer one is seen to be wrong."""
MAX_SCORED = 5_000
"""Most labels that are scored as answers, over all examples, where training judges a model."""
COMPARED = ("accuracy", "macro_f1", "exact_match", "bleu")
"""Figures of the base that stand beside those of the trained model."""
JUDGED_BY = "the likelihood of each label as the answer"


def compute_label_figures(
    items: Sequence[Item], shares: metrics.Floats, labels: Sequence[str], free: float
) -> dict[str, Any]:
    """Figures of answers that are labels: `shares` float[n, labels] of the n items, and of the unconstrained answers
    the share `free` that matched.
    """
    truth = [item.label or "" for item in items]
    return {**metrics.classification(truth, shares, labels), "exact_match": free, "judged_by": JUDGED_BY}


class Judge:
    """Asks a model what the items ask; the same greedy answers that serving gives."""

    def __init__(
        self,
        lessons: Lessons,
        items: VlmItems,
        batch: int,
        number_format: Callable[[], AbstractContextManager[Any]],
        images: KeptImages | None = None,
    ) -> None:
        """`number_format` is entered around every forward pass (autocast, or nothing). Raises NotTrainableError for a
        model that does something else than the items teach, and for labels that it cannot tell apart.
        """
        if items.task not in lessons.vlm.tasks:
            does = "answers questions" if "vqa" in lessons.vlm.tasks else "only writes captions"
            wanted = "answers or labels" if items.task == "vqa" else "captions"
            raise NotTrainableError(f"'{lessons.vlm.name}' {does} and cannot learn {wanted}.")
        self._vlm = lessons.vlm
        self._lessons = lessons
        self._items = items
        self._batch = batch
        self._number_format = number_format
        self._images = images
        self.judgement: Judgement | None = None
        """Of the newest evaluation, where the answers are labels."""
        self._scorer = LabelScorer(lessons, items.labels, batch) if items.labels else None

    def evaluate(self, splits: ItemSplits, most: int | None = None) -> dict[str, Any]:
        """Figures of (at most so many of) the examples that were not taught, and where they come from; without any,
        that nothing was judged, and how many of the taught answers the model gives.
        """
        items = splits.evaluation[:most]
        if not items:
            fit = self.figures(splits.train[:most])["exact_match"]
            return {"evaluated_on": NOT_JUDGED, "held_out": False, "exact_match_on_taught": fit}
        if most is not None and self._scorer is not None:
            items = items[: max(MAX_SCORED // len(self._items.labels), 1)]
        on: Literal["test", "validation"] = "validation" if splits.evaluation is splits.held_out else "test"
        figures, said = self._judge(items)
        self.judgement = None if said is None else Judgement(splits.train, items, said, on)
        return {
            **figures,
            "evaluated_on": on,
            "held_out": True,
            "judged": f"{len(items)} of {len(splits.evaluation)}",
        }

    def figures(self, items: Sequence[Item]) -> dict[str, Any]:
        """`evaluation.metrics.texts` of the model's answers."""
        questions = [item.question for item in items] if any(item.question for item in items) else None
        longest = max(len(self._lessons.tokenize_answer(item.answer or "")) for item in items) + SPARE_TOKENS
        said = [answer.text for answer in self.answers(items, longest)]
        return metrics.texts(said, [[item.answer or ""] for item in items], questions)

    def _judge(self, items: Sequence[Item]) -> tuple[dict[str, Any], list[str] | None]:
        """`figures`, and None; or where labels were taught as answers, `metrics.classification` with each answer
        constrained to the labels by their likelihood (`common.vlm.labels`) and how often the free answer is the label,
        and the predicted label of each item.
        """
        scorer, labels = self._scorer, self._items.labels
        if scorer is None:
            return self.figures(items), None
        with self._at_rest():
            shares = np.stack([scorer.probabilities(self._items.prompt(item, 0)) for item in items])
        free = self.figures(items)["exact_match"]
        return compute_label_figures(items, shares, labels, free), [
            labels[index] for index in shares.argmax(axis=1)
        ]

    def answers(self, items: Sequence[Item], max_new_tokens: int) -> list[Answer]:
        """What the model says to each, in order."""
        answers: dict[int, Answer] = {}
        waiting: defaultdict[str, list[tuple[int, Generation]]] = defaultdict(list)

        def answer(group: list[tuple[int, Generation]]) -> None:
            with self._showing([items[index] for index, _ in group]):
                found = self._vlm.generate([generation for _, generation in group])
            answers.update({index: generated for (index, _), generated in zip(group, found, strict=True)})
            group.clear()

        with self._at_rest():
            for index, item in enumerate(items):
                generation = self._vlm.pack(self._items.prompt(item, max_new_tokens))
                group = waiting[self._vlm.group(generation)]
                group.append((index, generation))
                if len(group) == self._batch:
                    answer(group)
            for group in waiting.values():
                if group:
                    answer(group)
        return [answers[index] for index in range(len(items))]

    def loss(self, items: Sequence[Item]) -> float:
        """Mean loss of the items' own answers."""
        total = 0.0
        with self._at_rest(), torch.no_grad():
            for start in range(0, len(items), self._batch):
                part = items[start : start + self._batch]
                batch = self._lessons.batch(
                    [(self._items.prompt(item, 0), item.answer or "") for item in part]
                )
                with self._showing(part):
                    total += float(self._lessons.loss(batch)) * len(part)
        return total / len(items)

    def _showing(self, items: Sequence[Item]) -> AbstractContextManager[None]:
        """What the tower made of the items' images before is taken again."""
        return (
            nullcontext() if self._images is None else self._images.showing([item.sha256 for item in items])
        )

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Without dropout; afterwards as before."""
        model = self._vlm.model
        training = model.training
        model.eval()
        try:
            with self._number_format():
                yield
        finally:
            model.train(training)
