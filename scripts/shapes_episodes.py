"""Episodes that can only be answered from their examples: made-up words that name colours or shapes.

A word's meaning lasts one episode. Words whose checksum falls in a reserved fifth are never trained with.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from easy_vqa_data import COLORS, SHAPES, UNKNOWN, Query, Split

CONSONANTS = "bdfghjklmnprstvwz"
VOWELS = "aeiou"
Dimension = Literal["color", "shape"]
SYLLABLES = tuple(c + v for c in CONSONANTS for v in VOWELS)
ASKING: dict[Dimension, tuple[str, ...]] = {
    "color": ("what color is this?", "what color is it?", "what color is the shape?", "which color is this?"),
    "shape": (
        "what shape is this?",
        "what shape is it?",
        "what shape is in the image?",
        "which shape is this?",
    ),
}
ASKING_EITHER = ("what is this?", "what is it?", "name this.")
FORMS = (
    ("", "Question: {} Answer:"),
    ("User:", "{}\nAssistant:"),
)
"""What stands before and after an image; an answer and a line break follow."""


def is_reserved(word: str) -> bool:
    """Whether a word is kept for evaluation."""
    return zlib.crc32(word.encode()) % 5 == 0


def new_word(rng: random.Random, syllables: int, held_out: bool) -> str:
    """A made-up word of so many syllables, reserved or not, and no name of easy-VQA's."""
    while True:
        word = "".join(rng.choices(SYLLABLES, k=syllables))
        if is_reserved(word) == held_out and word not in COLORS + SHAPES:
            return word


def new_code(rng: random.Random) -> str:
    """Something less pronounceable, as article numbers are; never a reserved word."""
    letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
    while True:
        name = "".join(rng.choices(letters, k=rng.randint(2, 6)))
        tail = "".join(rng.choices(rng.choice((letters, digits)), k=rng.randint(1, 4)))
        code = name + rng.choice(("", "", "-", "_", " ")) + tail
        if not is_reserved(code):
            return code


@dataclass(frozen=True)
class Item:
    """An image (a row of its split), a question, the answer, and whether a model could know that."""

    image: int
    question: str
    answer: str
    knowable: bool


@dataclass(frozen=True)
class Album:
    """Images of a split by colour and by shape."""

    split: Split
    rows: dict[Dimension, list[list[int]]]

    @classmethod
    def of(cls, split: Split) -> Album:
        """Index the images whose colour, or shape, the answers tell."""
        told: dict[Dimension, tuple[torch.Tensor, int]] = {
            "color": (split.colors, len(COLORS)),
            "shape": (split.shapes, len(SHAPES)),
        }
        return cls(
            split,
            {
                dimension: [(values == v).nonzero().squeeze(1).tolist() for v in range(count)]
                for dimension, (values, count) in told.items()
            },
        )

    def naming(
        self, rng: random.Random, count: int, words: list[str], dimension: Dimension, question: str
    ) -> list[Item]:
        """`count` items in which each of `words` names one colour or shape; an answer is knowable from the
        second time on that its word's meaning turns up."""
        kinds = rng.sample(range(len(self.rows[dimension])), len(words))
        items: list[Item] = []
        for _ in range(count):
            which = rng.randrange(len(words))
            image = rng.choice(self.rows[dimension][kinds[which]])
            seen = any(item.answer == words[which] for item in items)
            items.append(Item(image, question, words[which], seen))
        return items

    def echo(self, rng: random.Random, count: int) -> list[Item]:
        """`count` items whose answers stand in their questions: practice in copying."""
        items = []
        for _ in range(count):
            text = " ".join(
                new_word(rng, rng.randint(1, 3), held_out=False) for _ in range(rng.randint(1, 2))
            )
            items.append(Item(rng.randrange(len(self.split.images)), f"say {text}.", text, True))
        return items

    def plain(self, rng: random.Random, count: int, own: list[list[Query]]) -> list[Item]:
        """`count` items that go by the names everyone uses, or easy-VQA's own questions."""
        items: list[Item] = []
        while len(items) < count:
            image = rng.randrange(len(own))
            color, shape = int(self.split.colors[image]), int(self.split.shapes[image])
            choice = rng.random()
            if choice < 0.4 and own[image]:
                query = rng.choice(own[image])
                items.append(Item(image, query.question, query.answer, True))
            elif choice < 0.7 and color != UNKNOWN:
                items.append(Item(image, rng.choice(ASKING["color"]), COLORS[color], True))
            elif shape != UNKNOWN:
                items.append(Item(image, rng.choice(ASKING["shape"]), SHAPES[shape], True))
        return items


def trial(
    album: Album, rng: random.Random, examples: int, ways: int, dimension: Dimension
) -> tuple[list[Item], list[str]]:
    """An evaluation episode with reserved words: `examples` items, spread evenly over the words, then the
    question; and the words to choose from."""
    words: list[str] = []
    while len(words) < ways:
        word = new_word(rng, 2, held_out=True)
        words += [word] if word not in words else []
    kinds = rng.sample(range(len(album.rows[dimension])), ways)
    turns = [i % ways for i in range(examples)]
    rng.shuffle(turns)
    asked = rng.randrange(ways)
    unused = [rng.sample(album.rows[dimension][kind], examples + 1) for kind in kinds]
    items = [
        Item(unused[which].pop(), ASKING[dimension][0], words[which], which in turns)
        for which in (*turns, asked)
    ]
    return items, words
