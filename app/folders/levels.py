"""Which level of a dataset's folders are the labels: below what lies around everything, below or above the splits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain

from app.folders.splits import SPLITS, Split, edge_split, split_named, without_split
from app.folders.tree import Branch, Folder, Level, inner_of, is_flat
from app.folders.words import count_of, name_some

_YEAR = re.compile(r"(19|20)\d\d([-_.]?\d\d?){0,2}")
"""A year or a date."""


class AmbiguousFoldersError(ValueError):
    """The folders could mean several things between which a person has to choose."""


@dataclass
class Labels:
    """The labels' folders by name, and how they were found."""

    level: dict[str, Level] = field(default_factory=dict)
    around: list[str] = field(default_factory=list)
    """Names of the folders that were looked through."""
    splits: dict[str, Split] = field(default_factory=dict)
    """Folders above the labels that are splits."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Folder -> why its images are no examples."""
    sentences: list[str] = field(default_factory=list)

    def leave_out(self, level: Level, reason: str) -> None:
        """Note why the images in these folders and below are no examples."""
        for branch in level:
            self.reasons |= {folder.path: reason for folder in branch.folder.below()}


def find_labels(root: Folder, *, keep_split: bool) -> Labels:
    """Go down from the dataset's own folder to the labels' folders; raises AmbiguousFoldersError."""
    found = Labels()
    level: Level = [Branch(root)]
    while inner := inner_of(level):
        below = _below_splits(inner, level, found, keep_split) or _below_wrapper(inner, found)
        if below is None:
            found.level = _join_pairs(inner, found)
            break
        level = below
    return found


def _below_wrapper(inner: dict[str, list[Branch]], found: Labels) -> Level | None:
    """What lies in a folder around everything, or in years that hold the labels' folders; None for neither."""
    everything = list(chain.from_iterable(inner.values()))
    deeper = inner_of(everything)
    if not deeper:
        return None
    years = all(map(_YEAR.fullmatch, inner))
    only_years_below = all(map(_YEAR.fullmatch, deeper)) and all(map(is_flat, deeper.values()))
    if (len(inner) > 1 and not years) or only_years_below:
        return None
    if len(inner) > 1:
        found.sentences.append(f"the folders {name_some(list(inner))} carry no label")
    else:
        found.around += inner
    return everything


def _below_splits(
    inner: dict[str, list[Branch]], level: Level, found: Labels, keep_split: bool
) -> Level | None:
    """What lies in the splits' folders, and beside them where these are labels; None where no folder is a split."""
    splits = _splits_among(inner)
    others = {name: branches for name, branches in inner.items() if name not in splits}
    below = [Branch(branch.folder, split) for name, split in splits.items() for branch in inner[name]]
    labels = inner_of(below)
    if not splits or (not labels and not keep_split):
        return None
    if not others:
        found.splits |= splits
        return below
    beside = inner_of(list(chain.from_iterable(others.values())))
    rest = [Branch(branch.folder, branch.split, branch.without | splits.keys()) for branch in level]
    if labels.keys() & others.keys():  # cat/, dog/ and test/cat/, test/dog/
        found.splits |= splits
        return [*below, *rest]
    if not labels:
        return _beside_flat(inner, splits, others, rest, found)
    if labels.keys() & beside.keys() and "train" not in splits.values():  # pictures/cat/ and test/cat/
        found.splits |= splits
        found.sentences.append(
            f"{name_some(list(others))} beside {name_some(list(splits))} is no split: it trains"
        )
        return [*below, *chain.from_iterable(others.values())]
    if len(set(splits.values())) < 2:
        raise _is_it_a_split(splits, others)
    found.splits |= splits
    for name, branches in others.items():
        images = sum(branch.folder.all_images for branch in branches)
        found.leave_out(branches, f"beside the splits {'/'.join(splits)} and in none of them: '{name}'")
        found.sentences.append(
            f"{name} left out ({count_of(images, 'image')}): it is no split as {'/'.join(splits)} are"
        )
    return below


def _beside_flat(
    inner: dict[str, list[Branch]],
    splits: dict[str, Split],
    others: dict[str, list[Branch]],
    rest: Level,
    found: Labels,
) -> Level | None:
    """Folders with names of splits that hold images without any label's folder, beside `others`."""
    if set(splits.values()) == {"train"}:
        found.sentences.append(f"'{name_some(list(splits))}' is taken for a label like those beside it")
        return None
    if len(others) > 1 or all(map(is_flat, others.values())):
        raise _is_it_a_split(splits, others)
    for name in splits:
        found.leave_out(inner[name], f"in a split without a folder for each label: '{name}'")
        images = sum(branch.folder.all_images for branch in inner[name])
        found.sentences.append(
            f"{name} left out ({count_of(images, 'image')}): no folder in it gives a label"
        )
    return rest


def _is_it_a_split(splits: dict[str, Split], others: dict[str, list[Branch]]) -> AmbiguousFoldersError:
    names = name_some(list(splits))
    return AmbiguousFoldersError(
        f"Is '{names}' a label or a split? It stands beside {name_some(list(others))}, which are none. "
        f"own_split=ignore takes '{names}' for a label; for a split, its images belong into a folder for each label."
    )


def _splits_among(inner: dict[str, list[Branch]]) -> dict[str, Split]:
    """Folders that are splits by their own name, or beside one another: `seg_train` and `seg_test`."""
    splits = {name: split for name in inner if (split := split_named(name)) is not None}
    by_rest: dict[str, dict[str, Split]] = {}
    for name in inner.keys() - splits.keys():
        split = edge_split(name)
        if split is not None and not is_flat(inner[name]):
            by_rest.setdefault(without_split(name), {})[name] = split
    for pairs in by_rest.values():
        if len({*pairs.values(), *splits.values()}) > 1:
            splits |= pairs
    return dict(sorted(splits.items(), key=lambda named: (SPLITS.index(named[1]), named[0])))


def _join_pairs(inner: dict[str, list[Branch]], found: Labels) -> dict[str, Level]:
    """The labels, where folders such as `cat_train` and `cat_test` are one label in two splits."""
    joined: dict[str, dict[str, Split]] = {}
    for name in inner:
        split, rest = edge_split(name), without_split(name)
        if split is not None and split_named(name) is None and rest:
            joined.setdefault(rest, {})[name] = split
    labels: dict[str, Level] = dict(inner)
    for rest, pairs in joined.items():
        if len(set(pairs.values())) > 1:
            found.splits |= {split: split for split in sorted(set(pairs.values()), key=SPLITS.index)}
            found.sentences.append(f"{name_some(list(pairs))} are one class in several splits")
            labels[rest] = [
                Branch(branch.folder, split) for name, split in pairs.items() for branch in labels.pop(name)
            ]
    return dict(sorted(labels.items()))
