"""The base's own answers to everyday questions, mixed into training so that a new skill does not cost the old ones.

Learning without forgetting (Li and Hoiem 2016), with answers in the place of their soft labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from app.inference.prompts import Answer
from workers.shared.examples import Item

QUESTIONS = (
    "What is this?",
    "What color is it?",
    "What is in the image?",
    "What is the main object?",
    "Describe the image in one sentence.",
    "Where is it?",
    "Is there a person?",
    "Is it red?",
    "Is it not blue?",
    "Is this an animal?",
    "Does the image show a tree?",
    "Is there no car in the image?",
)
MAX_REHEARSED = 120
"""Answers that are asked for before training; more would cost a large base minutes."""
TOKENS = 24
_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and any are be can do does for have has how image in is it its main many me much no not object of on "
        "one or photo picture show shown tell that the there thing this to what which who you",
    )
)
"""Words that many questions share whatever they ask for."""


def make_rehearsal(
    taught: Sequence[Item], ask: Callable[[Sequence[Item], int], Sequence[Answer]], seed: int
) -> list[Item]:
    """Everyday questions about the taught images with what `ask` (items, new tokens) says to them.

    A question that asks what the examples teach to answer anew is left out, and so is an answer that did not end.
    """
    questions = [question for question in QUESTIONS if not _is_taught_anew(question, taught)]
    images = sorted({item.sha256 for item in taught})
    pairs = [Item(image, question=question) for image in images for question in questions]
    order = np.random.default_rng((seed, 2)).permutation(len(pairs))[:MAX_REHEARSED]
    chosen = [pairs[index] for index in order]
    if not chosen:
        return []
    return [
        Item(item.sha256, question=item.question, answer=answer.text)
        for item, answer in zip(chosen, ask(chosen, TOKENS), strict=True)
        if answer.text and answer.finish_reason == "stop"
    ]


def _is_taught_anew(question: str, taught: Sequence[Item]) -> bool:
    """Whether a taught question asks for the same thing, as far as its words tell."""
    words = _words(question)
    return any(
        words <= _words(item.question or "") for item in taught if words or not _words(item.question or "")
    )


def _words(question: str) -> frozenset[str]:
    """Without those that say nothing of what is asked."""
    return frozenset(re.findall(r"\w+", question.lower())) - _SMALL_WORDS
