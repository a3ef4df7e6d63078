"""What a model in training says to examples, and how often that is right.

Knows generation and figures; knows nothing of optimisers, adapters or checkpoints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from app.inference.vlms.prompts import Answer, Generation
from workers.evaluation import metrics
from workers.examples import Item
from workers.methods.vlm_items import VlmItems
from workers.methods.vlm_lessons import Lessons

_ROOM = 4
"""Tokens beyond the longest known answer, so that a longer one is seen to be wrong."""


class Judge:
    """Asks a model what the items ask; the same greedy answers that serving gives."""

    def __init__(
        self,
        lessons: Lessons,
        items: VlmItems,
        batch: int,
        number_format: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """`number_format` is entered around every forward pass (autocast, or nothing)."""
        self._vlm = lessons.vlm
        self._lessons = lessons
        self._items = items
        self._batch = batch
        self._number_format = number_format

    def figures(self, items: Sequence[Item]) -> dict[str, Any]:
        """`evaluation.metrics.texts` of the model's answers."""
        questions = [one.question for one in items] if any(one.question for one in items) else None
        longest = max(len(self._lessons.said(one.answer or "")) for one in items) + _ROOM
        said = [one.text for one in self.answers(items, longest)]
        return metrics.texts(said, [[one.answer or ""] for one in items], questions)

    def answers(self, items: Sequence[Item], max_new_tokens: int) -> list[Answer]:
        """What the model says to each, in order."""
        answers: dict[int, Answer] = {}
        waiting: defaultdict[str, list[tuple[int, Generation]]] = defaultdict(list)

        def answer(group: list[tuple[int, Generation]]) -> None:
            found = self._vlm.generate([one for _, one in group])
            answers.update({index: one for (index, _), one in zip(group, found, strict=True)})
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
                batch = self._lessons.batch([(self._items.prompt(one, 0), one.answer or "") for one in part])
                total += float(self._lessons.loss(batch)) * len(part)
        return total / len(items)

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
