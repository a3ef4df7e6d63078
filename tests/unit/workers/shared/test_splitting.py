"""Splits keep every label's share, are the same for one seed, and put no image on two sides."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from workers.shared.splitting import split_strata

SHARES = (0.8, 0.1, 0.1)


def strata(**counts: int) -> dict[str, str]:
    return {f"{label}-{index}": label for label, count in counts.items() for index in range(count)}


def test_every_label_keeps_its_shares() -> None:
    images = strata(cat=100, dog=50)
    split = split_strata(images, SHARES, seed=1)
    assert Counter((images[image], side) for image, side in split.items()) == {
        ("cat", "train"): 80,
        ("cat", "validation"): 10,
        ("cat", "test"): 10,
        ("dog", "train"): 40,
        ("dog", "validation"): 5,
        ("dog", "test"): 5,
    }


def test_a_seed_gives_one_split_whatever_the_order() -> None:
    images = strata(cat=40, dog=40)
    shuffled = dict(reversed(images.items()))
    assert split_strata(images, SHARES, seed=3) == split_strata(shuffled, SHARES, seed=3)
    assert split_strata(images, SHARES, seed=3) != split_strata(images, SHARES, seed=4)


@given(
    count=st.integers(1, 60),
    shares=st.tuples(st.floats(0.05, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_every_label_keeps_an_image_to_train_on(count: int, shares: tuple[float, float, float]) -> None:
    total = sum(shares)
    normal = [share / total for share in shares]
    found = Counter(split_strata(strata(a=count), normal, seed=0).values())
    assert found["train"] >= 1
    assert found.total() == count
    assert all(
        not found[side] for side, share in zip(("validation", "test"), normal[1:], strict=True) if not share
    )
    if count >= 3:
        assert all(
            found[side] for side, share in zip(("validation", "test"), normal[1:], strict=True) if share > 0
        )
