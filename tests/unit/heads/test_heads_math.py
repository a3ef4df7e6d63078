"""Closed forms against direct computations: leave-one-out, discriminants, moments, exemplars, small fits."""

from __future__ import annotations

import numpy as np
import pytest

from app.heads import Moments, calibration, gathering, gda, proker
from app.heads.gathering import even_share
from app.heads.types import Doubles
from app.heads.zero_shot import trust
from benchmarks import scores
from tests.unit.heads.head_data import clusters, support_set


@pytest.mark.parametrize(("b", "ridge"), [(3.0, 0.05), (1.7, 0.1), (0.5, 1.0)])
def test_leave_one_out_equals_refitting_without_each_support(b: float, ridge: float) -> None:
    vectors, means = clusters(3, 4)
    flat = vectors.reshape(-1, 32).astype(np.float64)
    onehot = np.repeat(np.eye(3), 4, axis=0)
    texts = flat @ means.T
    weight = 0.3
    left = proker.leave_one_out(proker.inverse(flat @ flat.T, b, ridge), onehot, texts)
    for i in range(len(flat)):
        rest = np.arange(len(flat)) != i
        solver = proker.inverse(flat[rest] @ flat[rest].T, b, ridge)
        found = solver @ (onehot[rest] - weight * texts[rest]) / ridge
        expected = weight * texts[i] + proker.kernel(flat[i] @ flat[rest].T, b) @ found
        np.testing.assert_allclose(weight * left.text[i] + left.image[i], expected, atol=1e-9)


def test_published_form_of_proker() -> None:
    """With weight w on the texts: t (f T' + k a), a = (K / l + I)^-1 (L - F T'), scaled by 1 / l as documented."""
    vectors, means = clusters(3, 2)
    flat = vectors.reshape(-1, 32).astype(np.float64)
    onehot, texts, ridge = np.repeat(np.eye(3), 2, axis=0), flat @ means.T, 0.05
    kernel = np.exp(-2.0 * (1.0 - flat @ flat.T))
    a = np.linalg.solve(kernel / ridge + np.eye(6), onehot - texts)
    found = proker.inverse(flat @ flat.T, 2.0, ridge) @ (onehot - texts)
    np.testing.assert_allclose(found, a, atol=1e-10)


def test_moments_grow_and_shrink_to_the_same_numbers() -> None:
    vectors, _ = clusters(3, 20)
    flat, ids = vectors.reshape(-1, 32), np.repeat([7, 8, 9], 20)
    whole = Moments(32)
    whole.add(ids, flat)
    step = Moments(32)
    for i in np.random.default_rng(1).permutation(60):
        step.add(ids[i : i + 1], flat[i : i + 1])
    extra, _ = clusters(1, 5, seed=9)
    step.add(np.array([7, 7, 8, 9, 10]), extra[0])
    step.remove(np.array([10, 9, 8, 7, 7]), extra[0][::-1])
    np.testing.assert_allclose(step.means([7, 8, 9]), whole.means([7, 8, 9]), atol=1e-12)
    np.testing.assert_allclose(step.within()[0], whole.within()[0], atol=1e-12)
    assert step.within()[1] == whole.within()[1] == 57
    assert step.count(10) == 0
    with pytest.raises(ValueError, match="more vectors"):
        step.remove(np.array([10]), extra[0][:1])


def test_within_label_scatter_is_the_direct_one() -> None:
    vectors, _ = clusters(4, 10)
    moments = Moments(32)
    moments.add(np.repeat(np.arange(4), 10), vectors.reshape(-1, 32))
    centred = (vectors - vectors.mean(axis=1, keepdims=True)).reshape(-1, 32).astype(np.float64)
    np.testing.assert_allclose(moments.within()[0], centred.T @ centred, atol=1e-5)


@pytest.mark.parametrize("each", [3, 40])
def test_gda_equals_a_direct_computation_and_the_form_for_few_vectors(each: int) -> None:
    vectors, _ = clusters(3, each)
    flat, ids = vectors.reshape(-1, 32), np.repeat(np.arange(3), each)
    wide = flat.astype(np.float64)
    means = np.stack([wide[ids == label].mean(axis=0) for label in range(3)])
    centred = wide - means[ids]
    freedom = len(flat) - 3
    covariance = centred.T @ centred / freedom
    fourth = np.mean((np.sum(centred**2, axis=1) * each / (each - 1)) ** 2)
    level = np.trace(covariance) / 32
    distance = np.sum((covariance - level * np.eye(32)) ** 2)
    share = np.clip((fourth - np.sum(covariance**2)) / freedom / distance, 0, 1)
    shrunk = (1 - share) * covariance + share * level * np.eye(32)
    precision = np.linalg.inv(shrunk)
    expected = wide @ precision @ means.T - 0.5 * np.sum(means @ precision * means, axis=1)

    moments = Moments(32)
    moments.add(ids, flat)
    examples = gda.Examples(flat, ids, np.ones(len(flat)), np.arange(0))
    of_moments = gda.fit(examples, moments, [0, 1, 2], variance=0.01).gda
    np.testing.assert_allclose(of_moments.discriminants(flat), expected, rtol=1e-3, atol=1e-2)
    of_few = gda.fit_few(examples, wide @ wide.T, variance=0.01).gda
    np.testing.assert_allclose(
        of_few.discriminants(flat), of_moments.discriminants(flat), rtol=1e-4, atol=1e-3
    )


def uneven(sizes: list[int], dim: int) -> gda.Examples:
    """Labels with so many vectors, of weights between .3 and 1, that spread along few directions."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = (rng.normal(size=(len(labels), dim)) + 0.5 * labels[:, None]) * np.geomspace(0.01, 5, dim)
    weights = rng.uniform(0.3, 1.0, len(labels))
    return gda.Examples(vectors.astype(np.float32), labels, weights, np.arange(len(labels)))


@pytest.mark.parametrize(("sizes", "dim"), [([20, 12, 25], 12), ([12, 15, 9], 40)])
def test_gaussians_left_out_equal_a_fit_without_each_vector(sizes: list[int], dim: int) -> None:
    """Both forms against direct sums, at the shrunk covariance of the whole."""
    examples = uneven(sizes, dim)
    vectors, labels, weights, rows = examples
    wide = vectors.astype(np.float64)
    moments = Moments(dim)
    moments.add(labels, vectors)
    moments.discount(labels, vectors, 1.0 - weights)
    of_moments = gda.fit(examples, moments, [0, 1, 2], variance=0.01)
    of_few = gda.fit_few(examples, wide @ wide.T, variance=0.01)

    def statistics(w: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        counts = np.asarray(np.bincount(labels, weights=w), np.float64)
        means = np.stack(
            [(w[:, None] * wide)[labels == label].sum(axis=0) / counts[label] for label in range(3)]
        )
        z = wide - means[labels]
        return counts, means, (w[:, None] * z).T @ z

    counts, means, scatter = statistics(weights)
    freedom = float(counts.sum()) - 3
    covariance = scatter / freedom
    trace, squared = float(np.trace(covariance)), float(np.sum(covariance**2))
    lengths = np.sum((wide - means[labels]) ** 2, axis=1) * counts[labels] / (counts[labels] - 1)
    share = gda.shrinkage(trace, squared, dim, freedom, float(np.mean(lengths**2)))
    expected, own_counts, distances = [], [], []
    for row in rows:
        without = weights.copy()
        without[row] = 0.0
        counts_left, means_left, scatter_left = statistics(without)
        shrunk = (1 - share) * scatter_left / freedom + share * trace / dim * np.eye(dim)
        precision = np.linalg.inv(shrunk)
        expected.append(
            wide[row] @ precision @ means_left.T - 0.5 * np.sum(means_left @ precision * means_left, axis=1)
        )
        own_counts.append(counts_left)
        z, own = wide[row] - means[labels[row]], counts[labels[row]]
        distances.append(own / (own - weights[row]) * z @ precision @ z)
    assert share < 0.9
    bias = 0.5 * np.mean(distances) / np.array(own_counts)
    for fit in (of_moments, of_few):
        np.testing.assert_allclose(fit.left_out, np.array(expected) + bias, rtol=1e-4, atol=1e-3)


def test_kernel_regression_on_anchors_equals_the_whole_where_all_are_anchors() -> None:
    vectors, means = clusters(3, 8)
    flat = vectors.reshape(-1, 32)
    onehot, texts = np.repeat(np.eye(3), 8, axis=0), np.asarray(flat @ means.T, np.float64)
    weights = np.linspace(0.5, 2.0, 24)
    rows = np.array([1, 5, 20])
    solver = proker.inverse(flat.astype(np.float64) @ flat.T.astype(np.float64), 2.0, 0.1, weights)
    whole = proker.leave_one_out(solver, onehot, texts)
    found = proker.fit_on_anchors(flat, np.arange(24), (2.0, 0.1), weights, (onehot, texts), rows)
    np.testing.assert_allclose(found.leave_one_out.image, whole.image[rows], atol=1e-4)
    np.testing.assert_allclose(found.leave_one_out.text, whole.text[rows], atol=1e-4)
    np.testing.assert_allclose(found.operator @ onehot, solver @ onehot / 0.1, rtol=1e-3, atol=1e-3)


def test_kernel_regression_on_some_anchors_is_left_out_as_if_fitted_without() -> None:
    vectors, means = clusters(3, 12, noise=1.2)
    flat = vectors.reshape(-1, 32)
    onehot, texts = np.repeat(np.eye(3), 12, axis=0), np.asarray(flat @ means.T, np.float64)
    anchors, weights = np.arange(0, 36, 4), np.linspace(0.5, 2.0, 36)
    rows = np.array([0, 7, 30])
    left = proker.fit_on_anchors(flat, anchors, (2.0, 0.1), weights, (onehot, texts), rows).leave_one_out
    near = proker.kernel(np.asarray(flat @ flat.T, np.float64), 2.0)
    for at, row in enumerate(rows):
        without = weights.copy()
        without[row] = 1e-9
        found = proker.fit_on_anchors(flat, anchors, (2.0, 0.1), without, (onehot, texts), rows)
        np.testing.assert_allclose(left.image[at], near[row, anchors] @ found.operator @ onehot, atol=1e-4)


def test_shares_are_even_and_fill_what_there_is() -> None:
    assert even_share(np.array([3, 3, 3]), 100) == 3
    assert even_share(np.array([50, 2, 1]), 13) == 10
    assert even_share(np.array([50, 50]), 21) == 10
    assert even_share(np.array([5, 5, 5]), 2) == 1


def test_shrinkage_is_ledoit_and_wolf_of_scikit_learn() -> None:
    """With the number of samples in place of the degrees of freedom the two are the same."""
    covariance = pytest.importorskip("sklearn.covariance")
    centred = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 9)
    empirical = centred.T @ centred / 50
    fourth = float(np.mean(np.sum(centred**2, axis=1) ** 2))
    found = gda.shrinkage(float(np.trace(empirical)), float(np.sum(empirical**2)), 8, 50, fourth)
    expected = covariance.LedoitWolf(assume_centered=True).fit(centred).shrinkage_
    assert found == pytest.approx(expected, rel=1e-9)


def test_trust_follows_how_well_texts_rank_the_supports() -> None:
    vectors, means = clusters(5, 3, noise=0.5)
    flat, ids = vectors.reshape(-1, 32), np.repeat(np.arange(5), 3)
    telling = (flat @ means.T).astype(np.float64)
    silent = 0.3 * np.random.default_rng(0).normal(size=telling.shape)
    assert trust(telling, ids, 50.0) > 0.5
    assert trust(silent, ids, 50.0) < 0.1
    assert trust(telling[:, :1], np.zeros(15, np.int64), 50.0) == 0.0


def test_scales_find_the_optimum_of_the_penalised_loss() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    parts = rng.normal(size=(2, 200, 4))
    parts[0, np.arange(200), labels] += 1.0
    prior, width = np.array([1.0, 1.0]), np.array([5.0, 5.0])
    scales, loss = calibration.fit_scales(parts, labels, prior, width)

    def penalised(at: np.ndarray) -> float:
        logits = np.tensordot(at, parts, axes=1)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(200), labels]
        return float(losses.sum() + 0.5 * np.sum(((at - prior) / width) ** 2)) / 200

    assert loss == pytest.approx(penalised(scales), rel=1e-6)
    for step in ([0.05, 0], [-0.05, 0], [0, 0.05]):
        assert penalised(np.maximum(scales + step, 0)) >= loss - 1e-4
    assert scales[0] > 0.5
    assert scales[1] < 0.3


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    rng = np.random.default_rng(3)
    labels, parts = rng.integers(0, 3, 60), rng.normal(size=(2, 60, 3))
    parts[0, np.arange(60), labels] += 0.5
    prior, width = np.array([0.5, 0.5]), np.array([2.0, 2.0])
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    weighed = calibration.fit_scales(parts, labels, prior, width, weights)
    twice = np.r_[np.arange(60), np.arange(20)]
    repeated = calibration.fit_scales(parts[:, twice], labels[twice], prior, width)
    np.testing.assert_allclose(weighed[0], repeated[0], atol=1e-6)
    assert weighed[1] == pytest.approx(repeated[1])
    assert not np.allclose(weighed[0], calibration.fit_scales(parts, labels, prior, width)[0], atol=1e-3)


def test_logistic_fit_recovers_what_made_the_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=5000)
    outcomes = (rng.random(5000) < 1 / (1 + np.exp(-(0.5 + 2 * x)))).astype(np.float64)
    inputs = np.stack([np.ones(5000), x], axis=1)
    found = calibration.fit_logistic(inputs, outcomes, np.ones(5000), np.zeros(2), np.full(2, 100.0))
    np.testing.assert_allclose(found, [0.5, 2.0], atol=0.15)


def test_measures_of_calibration_and_rejection() -> None:
    assert scores.auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert scores.auroc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert scores.expected_calibration_error(np.full(30, 1.0), np.tile([1.0, 0.0], 15)) == pytest.approx(0.5)
    assert scores.expected_calibration_error(np.full(60, 0.75), np.tile([1.0, 1, 1, 0], 15)) == pytest.approx(
        0.0
    )


def test_threshold_lies_between_known_and_unknown() -> None:
    known, unknown = np.linspace(0.7, 0.9, 40), np.linspace(0.1, 0.3, 40)
    assert 0.3 < calibration.best_threshold(known, [(unknown, 1.0)], 0.5) < 0.7
    assert calibration.best_threshold(known, [(unknown[:0], 1.0)], 0.42) == 0.42
    assert calibration.best_threshold(known, [(unknown, 0.0)], 0.42) == 0.42


def test_threshold_tells_scores_near_one_apart() -> None:
    known, unknown = np.linspace(0.995, 0.999, 40), np.linspace(0.9, 0.97, 40)
    assert 0.97 < calibration.best_threshold(known, [(unknown, 1.0)], 0.5) < 0.995


def test_a_kind_of_unknown_image_counts_by_its_weight() -> None:
    known, near, far = np.linspace(0.3, 0.9, 200), np.linspace(0.3, 0.5, 200), np.linspace(0.01, 0.1, 200)
    lenient = calibration.best_threshold(known, [(near, 0.1), (far, 1.0)], 0.3)
    strict = calibration.best_threshold(known, [(near, 3.0), (far, 1.0)], 0.3)
    assert lenient < 0.35 < 0.45 < strict


def test_threshold_lies_nearer_to_what_is_known_where_both_are_far_apart() -> None:
    known, unknown = np.linspace(0.97, 0.99, 200), np.linspace(0.01, 0.02, 200)
    found = calibration.best_threshold(known, [(unknown, 1.0)], 0.5)
    assert 0.55 < found < 0.97  # 0.5 lies in the middle


def test_nearest_exemplars_are_the_same_however_many_are_looked_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, _ = clusters(5, 20)
    supports = support_set(vectors)
    whole = gathering.gather(supports, list(range(5)))
    rows = np.arange(len(whole.labels))
    expected = whole.left_out(rows)
    monkeypatch.setattr(gathering, "_COSINES", 200)
    parts = gathering.gather(supports, list(range(5)))
    parts.left_out(rows[::3])
    np.testing.assert_allclose(parts.left_out(rows), expected, atol=1e-6)
    own = (
        whole.vectors[0]
        @ whole.vectors[np.setdiff1d(whole.exemplars[whole.labels[whole.exemplars] == 0], [0])].T
    )
    assert expected[0][0] == pytest.approx(own.max(), abs=1e-6)
