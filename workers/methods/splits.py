"""Which examples are trained on, chosen by and judged on, inside a method.

Knows items and labels; knows nothing of images.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.datasets.splitting import SPLITS, stratified
from workers.examples import Examples, Item

Splits = tuple[list[Item], list[Item], list[Item]]


def split_items(examples: Examples, validation_share: float, seed: int) -> Splits:
    """(train, validation, test): the data's own split, or a stratified one without a test side.

    Every label keeps one example to train on at least; an image is on one side.
    """
    if examples.is_split:
        train, validation, test = (examples.of_split(one) for one in SPLITS)
        return train + [one for one in examples.items if one.split is None], validation, test
    strata = {one.sha256: one.label or one.question or "" for one in examples.items}
    sides = stratified(strata, (1 - validation_share, 0.0, validation_share), seed)
    train = [one for one in examples.items if sides[one.sha256] == "train"]
    return train, [one for one in examples.items if sides[one.sha256] != "train"], []


def targets(items: Sequence[Item], labels: Sequence[str]) -> list[int]:
    """The index of each item's label."""
    index = {label: position for position, label in enumerate(labels)}
    return [index[one.label or ""] for one in items]
