"""What a user of a head would notice: scores, rejection, unequal or odd supports, names that say nothing."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from app.heads import Head, SupportSet, fit_head, gathering, priors_of, zero_shot_head
from app.heads import supports as supports_module
from app.heads.priors import SHIPPED
from app.heads.types import unit
from tests.unit.heads.head_data import Floats, clusters, generic_priors, support_set

PRIORS = generic_priors()


def made(vectors: Floats, texts: Floats | None, kind: str | None = None) -> Head:
    names = [f"label {i}" for i in range(len(vectors))]
    return fit_head(names, texts, support_set(vectors), list(range(len(names))), PRIORS, kind=kind)


def check(head: Head, features: Floats) -> None:
    """Scores are probabilities that add up to one with `none`; nothing is NaN."""
    found = head.predict(features)
    assert found.scores.shape == (len(features), len(head.labels))
    assert np.isfinite(found.scores).all()
    assert (found.scores >= 0).all()
    np.testing.assert_allclose(found.scores.sum(axis=1) + found.none, 1.0, atol=1e-5)
    assert 0.0 < head.threshold < 1.0
    if found.similarity is not None:
        assert (np.abs(found.similarity) <= 1.001).all()


@pytest.mark.parametrize("shots", [1, 2, 3, 5, 10, 30])
@pytest.mark.parametrize("labels", [1, 2, 7])
@pytest.mark.parametrize("kind", [None, "proker", "gda"])
def test_scores_add_up_to_one(shots: int, labels: int, kind: str | None) -> None:
    vectors, means = clusters(labels, shots + 3)
    for texts in (None, means):
        check(made(vectors[:, :shots], texts, kind), vectors[:, shots:].reshape(-1, 32))


@pytest.mark.parametrize("shots", [1, 3, 10])
def test_known_images_are_told_apart_and_strangers_get_less(shots: int) -> None:
    vectors, means = clusters(6, shots + 10, noise=0.6)
    head = made(vectors[:, :shots], means)
    known = head.predict(vectors[:, shots:].reshape(-1, 32))
    assert (known.scores.argmax(axis=1) == np.repeat(np.arange(6), 10)).mean() > 0.97
    strangers = head.predict(clusters(200, 1, seed=77)[0][:, 0])
    assert known.none.mean() < 0.2
    # few unknown images are expected, so that `none` stays below what half of them would make of it
    assert strangers.none.mean() > max(2 * known.none.mean(), {1: 0.04, 3: 0.3, 10: 0.5}[shots])
    assert (known.scores.max(axis=1) >= head.threshold).mean() > 0.9
    # a single example says little of an encoder that nothing else is known of
    assert (strangers.scores.max(axis=1) < head.threshold).mean() > (0.9 if shots > 1 else 0.3)


@pytest.mark.parametrize("shots", [1, 4])
@pytest.mark.parametrize("kind", ["proker", "gda"])
def test_the_order_of_the_labels_makes_no_difference(shots: int, kind: str) -> None:
    vectors, means = clusters(5, shots + 4)
    order = np.array([3, 0, 4, 1, 2])
    queries = vectors[:, shots:].reshape(-1, 32)
    supports = support_set(vectors[:, :shots])
    straight = fit_head(list("abcde"), means, supports, [0, 1, 2, 3, 4], PRIORS, kind=kind)
    names = [str(label) for label in order]
    turned = fit_head(names, means[order], supports, order.tolist(), PRIORS, kind=kind)
    np.testing.assert_allclose(
        straight.predict(queries).scores[:, order], turned.predict(queries).scores, atol=1e-6
    )


def test_a_higher_threshold_never_accepts_more() -> None:
    vectors, means = clusters(4, 8)
    best = made(vectors[:, :3], means).predict(vectors[:, 3:].reshape(-1, 32)).scores.max(axis=1)
    accepted = [(best >= threshold).sum() for threshold in np.linspace(0, 1, 21)]
    assert accepted[0] == len(best)
    assert all(more >= fewer for more, fewer in itertools.pairwise(accepted))


def hashed_names(count: int, dim: int, seed: int) -> Floats:
    """Texts as unrelated to the images as made-up names are: near to one another, and random."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8]))
    return unit((rng.normal(size=(1, dim)) + 0.6 * rng.normal(size=(count, dim))).astype(np.float32))


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_names_that_say_nothing_cost_at_most_a_point(shots: int) -> None:
    right = {True: 0, False: 0}
    total = 0
    for seed in range(30):
        vectors, _ = clusters(8, shots + 10, noise=1.3, seed=seed)
        queries, answers = vectors[:, shots:].reshape(-1, 32), np.repeat(np.arange(8), 10)
        total += len(answers)
        for named in (True, False):
            texts = hashed_names(8, 32, seed) if named else None
            scores = made(vectors[:, :shots], texts).predict(queries).scores
            right[named] += int((scores.argmax(axis=1) == answers).sum())
    assert right[True] >= right[False] - 0.01 * total
    assert 0.4 * total < right[False] < 0.995 * total


def test_names_that_say_much_help_at_one_shot() -> None:
    vectors, means = clusters(8, 41, noise=1.6)
    queries, answers = vectors[:, 1:].reshape(-1, 32), np.repeat(np.arange(8), 40)
    accuracy = [
        (made(vectors[:, :1], texts).predict(queries).scores.argmax(axis=1) == answers).mean()
        for texts in (None, means)
    ]
    assert accuracy[1] > accuracy[0] + 0.05


def test_labels_with_only_a_text_stand_beside_labels_with_examples() -> None:
    vectors, means = clusters(4, 8, noise=0.5)
    supports = SupportSet(32)
    supports.add(np.array([0] * 3 + [1] * 3), vectors[:2, :3].reshape(-1, 32))
    for kind in ("proker", "gda"):
        head = fit_head(list("abcd"), means, supports, [0, 1, 2, 3], PRIORS, kind=kind)
        queries = vectors[:, 3:].reshape(-1, 32)
        check(head, queries)
        found = head.predict(queries)
        assert (found.scores.argmax(axis=1) == np.repeat(np.arange(4), 5)).mean() > 0.8
        assert found.similarity is not None
        assert (found.similarity[:, 2:] == 0).all()


def test_zero_shot_ranks_by_text_and_has_a_none_share() -> None:
    vectors, means = clusters(5, 4, noise=0.4)
    head = zero_shot_head(list("abcde"), means, PRIORS)
    queries = vectors.reshape(-1, 32)
    check(head, queries)
    found = head.predict(queries)
    assert (found.scores.argmax(axis=1) == np.repeat(np.arange(5), 4)).all()
    assert found.similarity is None
    assert head.kind == "zero_shot"


def test_similarity_is_the_cosine_to_the_nearest_example() -> None:
    vectors, means = clusters(3, 4)
    found = made(vectors, means).predict(vectors[:, 0])
    assert found.similarity is not None
    np.testing.assert_allclose(np.diagonal(found.similarity), 1.0, atol=1e-5)
    expected = np.stack([vectors[label] @ vectors[0, 0] for label in range(3)]).max(axis=1)
    np.testing.assert_allclose(found.similarity[0], expected, atol=1e-5)


def test_many_examples_of_one_label_do_not_swallow_the_other() -> None:
    vectors, _ = clusters(2, 60, noise=1.0)
    supports = SupportSet(32)
    supports.add(np.repeat([0, 1], [50, 3]), np.concatenate([vectors[0, :50], vectors[1, :3]]))
    head = fit_head(["many", "few"], None, supports, [0, 1], PRIORS)
    assert (head.predict(vectors[1, 10:]).scores.argmax(axis=1) == 1).mean() > 0.85
    assert (head.predict(vectors[0, 50:]).scores.argmax(axis=1) == 0).mean() > 0.85


@pytest.mark.parametrize("kind", [None, "proker", "gda"])
@pytest.mark.parametrize("dim", [1, 2, 32])
def test_odd_supports_never_give_nan(kind: str | None, dim: int) -> None:
    one = unit(np.ones((1, 1, dim), np.float32))
    check(made(one, None, kind), one[0])
    equal = np.repeat(np.repeat(one, 3, axis=0), 5, axis=1)
    check(made(equal, equal[:, 0], kind), one[0])
    check(made(equal, None, kind), np.zeros((2, dim), np.float32))
    opposite = np.concatenate([one, -one])
    check(made(np.repeat(opposite, 4, axis=1), opposite[:, 0], kind), opposite[:, 0])
    check(made(one, None, kind), np.full((1, dim), np.nan, np.float32))


def test_the_same_image_under_two_labels_is_a_draw() -> None:
    vectors, _ = clusters(1, 3)
    both = np.concatenate([vectors, vectors])
    scores = made(both, None).predict(vectors[0]).scores
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], atol=1e-3)


def test_nothing_to_go_by_is_an_error() -> None:
    with pytest.raises(ValueError, match="neither"):
        fit_head(["a"], None, SupportSet(8), [0], PRIORS)
    with pytest.raises(ValueError, match="labels"):
        fit_head([], None, SupportSet(8), [], PRIORS)
    assert fit_head(["a"], np.ones((1, 8), np.float32), SupportSet(8), [0], PRIORS).kind == "zero_shot"


def test_a_large_collection_costs_what_a_small_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supports_module, "EXACT", 100)
    monkeypatch.setattr(gathering, "CORE", 100)
    monkeypatch.setattr(gathering, "ANCHORS", 60)
    vectors, means = clusters(4, 400, noise=1.0)
    head = made(vectors[:, :390], means)
    assert head.kind == "proker+gda"
    assert 60 <= len(head.anchors) <= 60 + 64
    queries = vectors[:, 390:].reshape(-1, 32)
    check(head, queries)
    assert (head.predict(queries).scores.argmax(axis=1) == np.repeat(np.arange(4), 10)).mean() > 0.95


def test_every_collection_of_single_examples_past_the_limit_still_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supports_module, "EXACT", 20)
    vectors, means = clusters(40, 2, noise=0.5)
    head = made(vectors[:, :1], means)
    check(head, vectors[:, 1])
    assert (head.predict(vectors[:, 1]).scores.argmax(axis=1) == np.arange(40)).mean() > 0.8


def test_a_fit_of_thousands_of_labels_takes_no_table_of_examples_by_labels() -> None:
    labels, each, dim = 1_500, 16, 16
    rng = np.random.default_rng(0)
    supports = SupportSet(dim)
    supports.add(np.repeat(np.arange(labels), each), rng.normal(size=(labels * each, dim)).astype(np.float32))
    texts = rng.normal(size=(labels, dim)).astype(np.float32)
    names = [str(label) for label in range(labels)]
    tracemalloc.start()
    try:
        fit_head(names, texts, supports, list(range(labels)), PRIORS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < labels * labels * each * 8 / 2


def test_background_images_make_a_collection_of_one_label_strict() -> None:
    vectors, _ = clusters(1, 6, noise=0.5)
    background = clusters(100, 1, seed=5)[0][:, 0]
    priors = replace(PRIORS, background=background, unrelated=0.0)
    head = fit_head(["only"], None, support_set(vectors[:, :4]), [0], priors)
    assert (head.predict(vectors[0, 4:]).scores[:, 0] >= head.threshold).all()
    assert (head.predict(clusters(99, 1, seed=6)[0][:, 0]).scores[:, 0] < head.threshold).mean() > 0.85


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.npz")))
def test_shipped_priors_belong_to_the_encoder_of_that_name(name: str) -> None:
    """A change of weights or preprocessing must come with `python -m scripts.fit_priors`."""
    content = (SHIPPED / f"{name}.json").read_text(encoding="utf-8")
    fingerprint = content.split('"fingerprint": "')[1][:16]
    with np.load(SHIPPED / f"{name}.npz") as found:
        dim = found["background"].shape[1]
        assert found["background"].dtype == np.float16
    assert (SHIPPED / f"{name}.npz").stat().st_size < 600_000
    known = SimpleNamespace(name=name, fingerprint=fingerprint, temperature=1.0, dim=dim)
    assert priors_of(known).name == name  # type: ignore[arg-type]
    other = SimpleNamespace(name=name, fingerprint="another", temperature=12.0, dim=dim)
    assert priors_of(other).name == "generic"  # type: ignore[arg-type]
    assert priors_of(other).temperature == 12.0  # type: ignore[arg-type]
