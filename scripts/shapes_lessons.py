"""What is asked about each training image: the split's own questions, reworded, and fresh ones."""

from __future__ import annotations

import random

from easy_vqa_data import COLORS, SHAPES, UNKNOWN, Query, Split
from shapes_questions import ask, reword

Questions = list[tuple[str, str]]
"""Questions with their answers."""


class Lessons:
    """`questions` questions about an image at a time."""

    def __init__(self, split: Split, questions: int) -> None:
        self.split, self.questions = split, questions
        self.own: list[list[Query]] = [[] for _ in split.images]
        for query in split.queries:
            self.own[query.image].append(query)

    def about(self, row: int, rng: random.Random) -> Questions:
        """Questions of the split about this image, reworded, and fresh ones where its facts are known."""
        color, shape = int(self.split.colors[row]), int(self.split.shapes[row])
        known = UNKNOWN not in (color, shape)
        pairs = []
        for _ in range(self.questions):
            if known and (not self.own[row] or rng.random() < 0.4):
                question, answer = ask(COLORS[color], SHAPES[shape], rng)
            else:
                query = rng.choice(self.own[row])
                question, answer = query.question, query.answer
            pairs.append((reword(question, rng), answer))
        return pairs

    def examples(self, rng: random.Random, form: str) -> str:
        """One to four answered questions about other images: right there, but not for this image."""
        told = [rng.choice(self.split.queries) for _ in range(rng.randint(1, 4))]
        return "".join(form.format(reword(q.question, rng), q.answer) for q in told)
