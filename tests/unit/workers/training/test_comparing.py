"""Which of the closed-form head and a trained model is to be used, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.jobs.spec import Comparison
from workers.shared.examples import Item
from workers.training.comparing import _sample_each_label, sign_test, weigh


def weighed(right_head: int, right_trained: int, of: int, **changes: Any) -> Comparison:
    """Two labels in turn; each of the two is right on its first so many images."""
    truth = np.array(["cup", "bowl"] * of)[:of]
    wrong = np.array(["bowl", "cup"] * of)[:of]
    said = [np.where(np.arange(of) < right, truth, wrong) for right in (right_head, right_trained)]
    about: dict[str, Any] = {
        "labels": 2,
        "encoder": "lite",
        "same": False,
        "evaluated_on": "test",
        "chosen_by": False,
        "fitted_on": (9, 9),
        "judged_on": (of, of),
        "how": "HOW.",
    }
    return weigh(truth, *said, **about | changes)


@pytest.mark.parametrize(
    ("head", "trained", "of", "use", "says"),
    [
        (170, 190, 200, "trained", "Use the trained model: it is right on 190 of 200"),
        # McNemar's exact test of 0 against 5 images has p = 2 / 2^5 = 0.0625, of 0 against 6 half of it
        (5, 10, 10, "head", "no more than chance could do (p = 0.062)"),
        (4, 10, 10, "trained", "(p = 0.031)"),
        (9, 8, 10, "head", "though by no more than chance could do"),
        (190, 170, 200, "head", "right on 190 of 200 held-out images, the trained model on 170 (p"),
        (10, 10, 10, "head", "right as often, on 10 of 10"),
    ],
)
def test_the_trained_model_has_to_be_better_than_chance_makes_it(
    head: int, trained: int, of: int, use: str, says: str
) -> None:
    found = weighed(head, trained, of)
    assert found.use == use
    assert says in found.sentence
    assert ("HOW." in found.sentence) == (use == "head")
    assert found.head is not None
    assert found.trained is not None
    assert (found.head.accuracy, found.trained.accuracy) == (head / of, trained / of)
    assert (found.chance, found.commonest) == (0.5, 0.5)


def test_what_flatters_or_limits_a_comparison_is_said() -> None:
    assert "chosen by these images" not in weighed(9, 9, 10).sentence
    assert "chosen by these images, which flatters it" in weighed(9, 9, 10, chosen_by=True).sentence
    assert "fitted on 2,000 of the 9,000 training" in weighed(9, 9, 10, fitted_on=(2000, 9000)).sentence
    assert "Compared on 10 of 300 held-out" in weighed(9, 9, 10, judged_on=(10, 300)).sentence
    assert "Neither is right more often than always saying" in weighed(5, 4, 10).sentence
    assert "This model is the closed-form head" in weighed(9, 9, 10, same=True).sentence


def test_a_share_of_the_training_images_holds_every_label() -> None:
    items = [Item(f"{number}", label="common" if number else "rare") for number in range(50)]
    chosen = _sample_each_label(items, 6, seed=1)
    assert sorted(item.label or "" for item in chosen) == ["common"] * 5 + ["rare"]
    assert chosen == _sample_each_label(items[::-1], 6, seed=1)
    assert len({item.label for item in _sample_each_label(items, 1, seed=1)}) == 2


@pytest.mark.parametrize(
    ("one", "other", "p_value"), [(0, 0, 1), (3, 3, 1), (0, 1, 1), (0, 5, 1 / 16), (1, 9, 22 / 1024)]
)
def test_the_sign_test_is_exact(one: int, other: int, p_value: float) -> None:
    assert sign_test(one, other) == sign_test(other, one) == pytest.approx(p_value)


def test_where_labels_are_expected_by_their_examples_a_share_of_them_keeps_the_proportions() -> None:
    items = [Item(f"{number}", label="rare" if number % 10 == 0 else "common") for number in range(400)]
    chosen = _sample_each_label(items, 100, 1, "examples")
    assert len(chosen) == 100
    assert 3 <= sum(item.label == "rare" for item in chosen) <= 20
    even = _sample_each_label(items, 60, 1)
    assert sum(item.label == "rare" for item in even) == 30
    assert {item.label for item in _sample_each_label(items, 2, 1, "examples")} == {"rare", "common"}
