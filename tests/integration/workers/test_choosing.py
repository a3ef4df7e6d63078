"""Which classifier a training job publishes."""

from __future__ import annotations

import numpy as np

from app.heads import Prediction
from workers.methods.common.choosing import Choice, choose, describe, losses_of, plain_accuracies


def losses(**means: float) -> dict[Choice, np.ndarray]:
    """Of 50 images, each with the same noise around its mean."""
    noise = np.random.default_rng(1).normal(0, 0.05, 50)
    return {name: np.full(50, mean) + noise for name, mean in means.items()}  # type: ignore[misc]


def test_a_head_stays_where_nothing_has_a_lower_loss() -> None:
    assert choose(losses(head=0.3, head_on_trained_features=0.3, trained=0.3)) == "head"
    assert choose(losses(head=0.3, head_on_trained_features=0.4)) == "head"
    assert choose(losses(head=0.3, head_on_trained_features=0.2)) == "head_on_trained_features"


def test_the_trained_classifier_has_to_be_better_than_noise_makes_it() -> None:
    found = losses(head=0.5, head_on_trained_features=0.3)
    slightly, clearly = np.tile([-0.7, 0.75], 25), np.tile([0.1, 0.2], 25)
    base = found["head_on_trained_features"]
    assert choose({**found, "trained": base - slightly}) == "head_on_trained_features"
    assert choose({**found, "trained": base - clearly}) == "trained"
    assert choose({name: of[:1] for name, of in {**found, "trained": base - 1}.items()}) != "trained"


def test_losses_leave_the_share_for_none_aside() -> None:
    scores = np.array([[0.4, 0.1], [0.0, 0.5]], np.float32)
    found = Prediction(scores, np.array([0.5, 0.5], np.float32), np.zeros(2, np.float32))
    expected = [-np.log(0.8), -np.log(1e-12)]
    assert np.allclose(losses_of(found, np.array([0, 0])), expected, atol=1e-5)


def test_plain_classifiers_tell_what_is_plain() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 8)
    x = np.eye(3, 6, dtype=np.float32)[y] + 0.05 * rng.normal(size=(24, 6)).astype(np.float32)
    found = plain_accuracies(x, y, x, y)
    assert found == {"prototypes": 1.0, "logistic_regression": 1.0}
    assert plain_accuracies(x, y, x, (y + 1) % 3) == {"prototypes": 0.0, "logistic_regression": 0.0}
    line = describe({**found, "head": 0.9, "chance": 1 / 3}, 24, "head")
    assert "on 24 held-out images: the closed-form head 0.9, nearest prototypes 1" in line
    assert line.endswith("What is published is the closed-form head.")
