"""Which examples a model trains on, chooses by and is judged on: stratified, seeded, no image in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from workers.shared.examples import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_strata(strata: Mapping[str, str], shares: Sequence[float], seed: int) -> dict[str, Split]:
    """A split for each image, given its stratum (such as its label), in `shares` of train, validation, test.

    Within a stratum images are put in the order of a hash of seed and image, so that one seed gives one split
    whatever the order of the files, and an image that is added moves few others. Every stratum keeps at least
    one image to train on; of two or more, where shares ask for it, one goes to test, of three or more one to
    validation.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for image, stratum in strata.items():
        members[stratum].append(image)
    result: dict[str, Split] = {}
    for images in members.values():
        images.sort(key=lambda image: place_of(image, seed))
        validation, test = shares_of(len(images), shares)
        for index, image in enumerate(images):
            result[image] = "test" if index < test else "validation" if index < test + validation else "train"
    return result


def place_of(image: str, seed: int) -> bytes:
    """Where an image stands in its stratum: those that come first are taken for test, the next for validation."""
    return hashlib.sha256(f"{seed} {image}".encode()).digest()


def shares_of(count: int, shares: Sequence[float]) -> tuple[int, int]:
    """How many of so many images go to validation and to test; see `split_strata`."""
    test = _share(count, shares[2], keep=2 if shares[1] > 0 and count > 2 else 1)
    validation = _share(count - test, shares[1] / (shares[0] + shares[1]), keep=1) if count > 2 else 0
    return validation, test


def _share(count: int, share: float, *, keep: int) -> int:
    """At least one where any is asked for and `keep` stay."""
    if share <= 0 or count <= keep:
        return 0
    return min(max(1, round(count * share)), count - keep)
