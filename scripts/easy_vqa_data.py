"""The easy-VQA splits as tensors: images, questions, and the colour and shape that the answers give away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import easy_vqa
import numpy as np
import torch
from PIL import Image

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
UNKNOWN = -1
SIDE = 64

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class Query:
    """One question about one image; `image` is a row of `Split.images`."""

    image: int
    question: str
    answer: str

    @property
    def kind(self) -> str:
        """`color`, `shape` (what is asked for) or `yes/no`."""
        if self.answer in ("yes", "no"):
            return "yes/no"
        return "color" if self.answer in COLORS else "shape"


@dataclass(frozen=True)
class Split:
    """uint8 images[n, 3, 64, 64], every question, and int64 colors[n], shapes[n] (-1 where never told)."""

    images: torch.Tensor
    queries: list[Query]
    colors: torch.Tensor
    shapes: torch.Tensor


def load_split(name: SplitName) -> Split:
    """Decode a whole split into memory (4,000 training or 1,000 test images)."""
    if name == "train":
        questions, paths = easy_vqa.get_train_questions(), easy_vqa.get_train_image_paths()
    else:
        questions, paths = easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths()
    order = sorted(paths)
    row_of = {image_id: row for row, image_id in enumerate(order)}
    images = np.stack([np.asarray(Image.open(paths[i]).convert("RGB")) for i in order])
    queries = [Query(row_of[i], q, a) for q, a, i in zip(*questions, strict=True)]
    colors, shapes = _facts(queries, len(order))
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), queries, colors, shapes)


def _facts(queries: list[Query], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the questions and answers alone say of each image: colors[count], shapes[count]."""
    colors = [set(COLORS) for _ in range(count)]
    shapes = [set(SHAPES) for _ in range(count)]
    for query in queries:
        words = set(query.question.rstrip("?").split())
        for left, names in ((colors[query.image], COLORS), (shapes[query.image], SHAPES)):
            named = words & set(names)
            if query.answer in names:
                left &= {query.answer}
            elif named and query.kind != "yes/no":
                left &= named
            elif named:
                present = (query.answer == "yes") != bool(words & {"no", "not"})
                left.intersection_update(named) if present else left.difference_update(named)
    return _sole(colors, COLORS), _sole(shapes, SHAPES)


def _sole(candidates: list[set[str]], names: tuple[str, ...]) -> torch.Tensor:
    """Index of the only name left for each image, or -1 where several remain."""
    return torch.tensor([names.index(next(iter(c))) if len(c) == 1 else UNKNOWN for c in candidates])
