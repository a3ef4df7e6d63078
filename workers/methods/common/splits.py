"""Which examples are trained on, chosen by and judged on, inside a method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.jobs.errors import NotTrainableError
from app.methods.tasks import MIN_A_LABEL_TO_HOLD_OUT
from workers.shared.examples import Examples, Item
from workers.shared.splitting import SPLITS, split_strata

_MAX_NAMED = 5
Splits = tuple[list[Item], list[Item], list[Item]]


def split_items(examples: Examples, validation_share: float, seed: int) -> Splits:
    """(train, validation, test): the data's own split, or a stratified one without a test side.

    Every label keeps one example to train on at least, and one with fewer than `MIN_A_LABEL_TO_HOLD_OUT` all of its
    own; an image is on one side.
    """
    if examples.is_split:
        train, validation, test = (examples.of_split(split) for split in SPLITS)
        return train + [item for item in examples.items if item.split is None], validation, test
    strata = {item.sha256: item.label or item.question or "" for item in examples.items}
    images = Counter(strata.values())
    splits = split_strata(strata, (1 - validation_share, 0.0, validation_share), seed)
    held = {
        image
        for image, stratum in strata.items()
        if splits[image] != "train" and images[stratum] >= MIN_A_LABEL_TO_HOLD_OUT
    }
    train = [item for item in examples.items if item.sha256 not in held]
    return train, [item for item in examples.items if item.sha256 in held], []


def split_leaving(examples: Examples, validation_share: float, seed: int, *, least: int) -> Splits:
    """As `split_items`, but of each label so many examples stay to train on, if it has them."""
    train, validation, test = split_items(examples, validation_share, seed)
    if examples.is_split:
        return train, validation, test
    left = Counter(item.label for item in train)
    held = []
    for item in validation:
        if left[item.label] < least:
            left[item.label] += 1
        else:
            held.append(item)
    away = {item.sha256 for item in held}
    return [item for item in examples.items if item.sha256 not in away], held, test


def check_training_labels(examples: Examples) -> None:
    """Raise NotTrainableError where a label stands on no side but those that models are judged on."""
    taught = {item.label for item in examples.items if item.split in (None, "train")}
    missing = [label for label in examples.labels if label not in taught]
    if missing:
        named = ", ".join(f"'{label}'" for label in missing[:_MAX_NAMED])
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        raise NotTrainableError(f"The training split holds no example of {named}{more}.")


def targets(items: Sequence[Item], labels: Sequence[str]) -> list[int]:
    """The index of each item's label."""
    index = {label: position for position, label in enumerate(labels)}
    return [index[item.label or ""] for item in items]
