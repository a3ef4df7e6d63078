"""Examples that are nearly one picture, such as the frames of a film, count as about one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from app.heads import Head, SupportSet, fit_head, fitting, gathering, proker, repeats
from app.heads import supports as supports_module
from app.heads.fitting import count_examples
from app.heads.gathering import count_once, gather
from app.heads.moments import Moments
from app.heads.repeats import Repeats, find_repeats, no_repeats, same_picture
from app.heads.types import Doubles, Ints, unit
from tests.unit.heads.head_data import Floats, clusters, generic_priors, support_set

PRIORS = generic_priors()
FRAMES = 5


def filmed(vectors: Floats, frames: int = FRAMES, *, distance: float = 0.05, seed: int = 0) -> Floats:
    """float32[labels, each * frames, d]: each of the vectors float32[labels, each, d] so many times, slightly moved."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(*vectors.shape[:2], frames, vectors.shape[2])) / np.sqrt(vectors.shape[2])
    moved = unit((vectors[:, :, None] + distance * noise).astype(np.float32))
    return moved.reshape(len(vectors), -1, vectors.shape[2])


def fit(vectors: Floats, **options: object) -> Head:
    names = [f"label {i}" for i in range(len(vectors))]
    return fit_head(names, None, support_set(vectors), list(range(len(vectors))), PRIORS, **options)  # type: ignore[arg-type]


def best_scores(head: Head, queries: Floats) -> Doubles:
    best: Doubles = head.predict(queries.reshape(-1, queries.shape[-1])).scores.max(axis=1).astype(np.float64)
    return best


@pytest.mark.parametrize("pictures", [1, 3])
def test_frames_make_a_head_no_surer_than_their_pictures_do(
    pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    surer, by_number, thresholds = [], [], []
    for seed in range(5):
        vectors, _ = clusters(5, pictures + 20, noise=1.2, seed=seed)
        taught, asked = vectors[:, :pictures], vectors[:, pictures:]
        alone, frames = fit(taught), fit(filmed(taught, seed=seed))
        surer.append(best_scores(frames, asked).mean() - best_scores(alone, asked).mean())
        thresholds.append(abs(frames.threshold - alone.threshold))
        np.testing.assert_allclose(frames.sizes, pictures, atol=0.1)
        assert frames.counts.tolist() == [pictures * FRAMES] * 5
        with monkeypatch.context() as each_counts:
            each_counts.setattr(fitting, "count_once", lambda gathered, unrelated: gathered)
            many = best_scores(fit(filmed(taught, seed=seed)), asked)
            by_number.append(many.mean() - best_scores(alone, asked).mean())
    assert abs(np.mean(surer)) < 0.03
    assert max(thresholds) < 0.1
    assert np.abs(surer).max() < 0.1
    assert abs(np.mean(by_number)) > 0.05  # what it would be if each frame counted


def test_one_label_that_is_filmed_does_not_outweigh_labels_with_as_many_pictures() -> None:
    vectors, _ = clusters(4, 40, noise=1.2, seed=3)
    taught = [filmed(vectors[:1, :1], 6), *[vectors[label : label + 1, :6] for label in (1, 2, 3)]]
    single = SupportSet(32)
    ids = np.repeat(np.arange(4), [1, 6, 6, 6])
    single.add(ids, np.concatenate([vectors[0, :1], *vectors[1:, :6]]))
    once = fit_head(["a", "b", "c", "d"], None, single, [0, 1, 2, 3], PRIORS)
    filmed_head = fit(np.concatenate(taught))
    asked = vectors[:, 10:].reshape(-1, 32)
    np.testing.assert_allclose(filmed_head.predict(asked).scores, once.predict(asked).scores, atol=0.05)


def test_nothing_changes_where_no_two_examples_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (1, 2, 6):
        vectors, _ = clusters(5, each + 5, noise=1.2, seed=each)
        found = fit(vectors[:, :each])
        with monkeypatch.context() as never:
            never.setattr(fitting, "count_once", lambda gathered, unrelated: gathered)
            plain = fit(vectors[:, :each])
        asked = vectors[:, each:].reshape(-1, 32)
        np.testing.assert_allclose(found.predict(asked).scores, plain.predict(asked).scores, atol=1e-6)
        assert found.threshold == pytest.approx(plain.threshold, abs=1e-6)
        np.testing.assert_array_equal(found.sizes, found.counts)


def test_nothing_jumps_as_two_examples_come_nearer() -> None:
    """The cosine of two examples of one label goes from far below the distance to the same picture."""
    vectors, _ = clusters(4, 26, noise=1.0, seed=2)
    aside = unit((vectors[0, 1] - (vectors[0, 1] @ vectors[0, 0]) * vectors[0, 0])[None])[0]
    before, steps, sizes = None, [], []
    for cosine in np.linspace(0.95, 0.9999, 40):
        taught = vectors[:, :6].copy()
        taught[0, 1] = cosine * vectors[0, 0] + np.sqrt(1.0 - cosine**2) * aside
        head = fit(taught)
        scores = head.predict(vectors[:, 6:].reshape(-1, 32)).scores
        steps.append(0.0 if before is None else np.abs(scores - before).max())
        sizes.append(head.sizes[0])
        before = scores
    assert sizes[0] == 6.0
    assert sizes[-1] == pytest.approx(5.0)
    assert max(steps) < 0.05
    assert np.all(np.diff(sizes) <= 1e-9)


def test_a_frame_that_takes_nearly_all_of_its_label_along_is_no_suspect_and_moves_nothing() -> None:
    vectors, _ = clusters(4, 26, dim=64, noise=1.2, seed=3)
    moves = np.random.default_rng(5).normal(size=(2, 64)) / 8
    found = []
    for step in np.linspace(0.2848, 0.2853, 20):
        supports = SupportSet(64)
        film = vectors[0, 0] + np.stack([np.zeros(64), *(step * moves)])
        supports.add(np.zeros(3, np.int64), unit(film.astype(np.float32)))
        supports.add(np.repeat([1, 2, 3], 6), vectors[1:, :6].reshape(-1, 64))
        head = fit_head(list("abcd"), None, supports, [0, 1, 2, 3], PRIORS)
        assert not head.suspects, step
        found.append(head.predict(vectors[:, 6:].reshape(-1, 64)).scores)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], np.shape(found)), atol=0.005)


def test_taught_in_any_order_and_by_steps_frames_count_the_same() -> None:
    vectors, _ = clusters(3, 24, noise=1.2, seed=5)
    taught = filmed(vectors[:, :4])
    ids, flat = np.repeat(np.arange(3), taught.shape[1]), taught.reshape(-1, 32)
    by_steps = SupportSet(32)
    for row in np.random.default_rng(0).permutation(len(flat)):
        by_steps.add(ids[row : row + 1], flat[row : row + 1])
    extra = filmed(vectors[:, :4], 2, seed=9).reshape(-1, 32)
    extra_ids = np.repeat(np.arange(3), len(extra) // 3)
    by_steps.add(extra_ids, extra)
    by_steps.remove(extra_ids, extra)
    asked = vectors[:, 4:].reshape(-1, 32)
    names = ["label 0", "label 1", "label 2"]
    stepwise = fit_head(names, None, by_steps, [0, 1, 2], PRIORS)
    np.testing.assert_array_equal(stepwise.predict(asked).scores, fit(taught).predict(asked).scores)


def test_a_label_of_one_picture_is_not_told_by_its_own_frames() -> None:
    """Left out without the other frames nothing is known of it: no recall, no promise, no suspect."""
    vectors, _ = clusters(4, 30, noise=1.0, seed=1)
    taught = np.concatenate([filmed(vectors[:1, :1], 25), vectors[1:, :25]])
    head = fit(taught)
    assert np.isnan(head.recalls[0])
    assert not np.isnan(head.recalls[1:]).any()
    assert head.conformal is not None
    assert head.conformal.guarantee == "average"
    assert {suspect.label for suspect in head.suspects} <= {1, 2, 3}


def test_frames_do_not_add_up_to_a_promise() -> None:
    vectors, _ = clusters(4, 4, noise=1.0, seed=1)
    films, many = fit(filmed(vectors, 10)).conformal, fit(clusters(4, 40, noise=1.0, seed=1)[0]).conformal
    assert films is not None
    assert many is not None
    assert films.sizes.sum() == pytest.approx(16.0, abs=0.5)
    assert (films.guarantee, many.guarantee) == ("none", "label")


def test_label_shares_count_pictures() -> None:
    vectors, _ = clusters(2, 30, noise=1.2, seed=4)
    supports = SupportSet(32)
    films = filmed(vectors[:1, :3], 10)[0]
    supports.add(np.zeros(30, np.int64), films)
    supports.add(np.ones(3, np.int64), vectors[1, :3])
    heads = [
        fit_head(["film", "pictures"], None, supports, [0, 1], PRIORS, label_shares=shares)
        for shares in ("equal", "examples")
    ]
    asked = vectors[:, 5:].reshape(-1, 32)
    equal, shared = (head.predict(asked).scores for head in heads)
    np.testing.assert_allclose(equal, shared, atol=0.03)


def test_a_large_collection_counts_what_it_does_not_keep_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EXACT", 100), ("SAMPLE", 100)):
        monkeypatch.setattr(supports_module, name, value)
    monkeypatch.setattr(gathering, "CORE", 60)
    monkeypatch.setattr(gathering, "ANCHORS", 30)
    vectors, _ = clusters(2, 150, noise=1.2, seed=6)
    supports = SupportSet(32)
    film = filmed(vectors[:1, :5], 30)[0]
    supports.add(np.zeros(150, np.int64), film)
    supports.add(np.ones(110, np.int64), vectors[1, :110])
    head = fit_head(["film", "pictures"], None, supports, [0, 1], PRIORS)
    assert head.sizes[0] == pytest.approx(5.0, abs=0.5)
    assert head.sizes[1] == pytest.approx(110.0, abs=1.0)
    told = head.predict(vectors[:, 110:].reshape(-1, 32)).scores.argmax(axis=1)
    assert (told == np.repeat([0, 1], 40)).mean() > 0.75


def test_equal_vectors_count_the_same_in_a_large_collection_as_in_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, _ = clusters(2, 12, noise=1.2, seed=8)
    sizes = []
    for exact in (100, 10):
        monkeypatch.setattr(supports_module, "EXACT", exact)
        supports = support_set(vectors)
        supports.add(np.zeros(30, np.int64), np.repeat(vectors[0, :1], 30, axis=0))
        assert (supports.moments is None) == (exact == 100)
        sizes.append(fit_head(["twins", "pictures"], None, supports, [0, 1], PRIORS).sizes)
    np.testing.assert_allclose(sizes, 12.0, atol=1e-6)


def test_of_very_many_frames_a_few_are_looked_at() -> None:
    vectors, _ = clusters(3, 4, noise=1.0, seed=7)
    gathered = count_once(gather(support_set(filmed(vectors, 100)), [0, 1, 2]), PRIORS.unrelated)
    assert len(gathered.labels) <= 3 * 4 * repeats.MAX_FRAMES
    assert gathered.taught.tolist() == [400, 400, 400]
    np.testing.assert_allclose(gathered.sizes, 4.0, atol=0.1)
    np.testing.assert_allclose(
        count_examples(gathered, support_set(vectors), [0, 1, 2], np.array([800, 400, 200])),
        [4.0, 4.0, 2.0],
        atol=0.1,
    )


def test_shares_go_from_two_pictures_to_one() -> None:
    cosines = 1.0 - 0.1 * np.array([1.5, 1.0, 0.5 * (1.0 + repeats.NEARER), repeats.NEARER, 0.0])
    np.testing.assert_allclose(same_picture(cosines, 0.1), [0.0, 0.0, 0.5, 1.0, 1.0], atol=1e-6)


def test_weights_and_merged_vectors_equal_a_direct_computation() -> None:
    vectors = filmed(clusters(2, 3, seed=8)[0], 4, distance=0.3)
    groups = list(vectors)
    found, kept, _ = find_repeats(groups, 0.06)
    same = np.zeros((24, 24))
    for label in range(2):
        part = slice(12 * label, 12 * label + 12)
        cosines = groups[label] @ groups[label].T
        same[part, part] = same_picture(cosines, 0.06)
    np.fill_diagonal(same, 1.0)
    assert ((same > 0.01) & (same < 0.99)).any()
    flat, weights = vectors.reshape(-1, 32), 1.0 / same.sum(axis=1)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)
    np.testing.assert_allclose(
        found.merge(flat), unit(((same * weights) @ flat).astype(np.float32)), atol=1e-5
    )
    np.testing.assert_allclose(found.take_out(np.arange(24.0)), same @ np.arange(24.0), atol=1e-5)
    assert [rows.tolist() for rows in kept] == [list(range(12))] * 2


def partly_alike(size: int, seed: int) -> tuple[Repeats, Doubles]:
    """Some rows that go with some others to chance shares, and the same as a matrix with ones on the diagonal."""
    rng = np.random.default_rng(seed)
    same = np.triu(np.where(rng.random((size, size)) < 0.15, rng.random((size, size)), 0.0), 1)
    same[0, 1] = 1.0
    same += same.T
    rows, others = np.nonzero(same)
    return Repeats(size, rows, others, same[rows, others]), same + np.eye(size)


def without(row: int, weights: Doubles, same: Doubles) -> Doubles:
    rest: Doubles = np.maximum(weights * (1.0 - same[row]), 1e-9)
    return rest


def test_kernel_regression_without_a_fold_equals_a_fit_without_it() -> None:
    rng = np.random.default_rng(0)
    vectors = clusters(3, 8, seed=9)[0].reshape(-1, 32).astype(np.float64)
    found, same = partly_alike(24, 1)
    weights, onehot = rng.uniform(0.3, 1.5, 24), np.repeat(np.eye(3), 8, axis=0)
    texts, gram = rng.normal(size=(24, 3)), vectors @ vectors.T
    solver = proker.inverse(gram, 2.0, 0.1, weights)
    left = proker.leave_one_out(solver, onehot, texts, weights, found.folds(np.arange(24)))
    near = proker.kernel(gram, 2.0)
    for row in range(24):
        operator = proker.inverse(gram, 2.0, 0.1, without(row, weights, same)) / 0.1
        np.testing.assert_allclose(left.image[row], near[row] @ operator @ onehot, atol=1e-5)
        np.testing.assert_allclose(left.text[row], texts[row] - near[row] @ operator @ texts, atol=1e-5)


def test_kernel_regression_on_anchors_without_a_fold_equals_a_fit_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proker, "_CELLS", 5_000)
    rng = np.random.default_rng(0)
    vectors = clusters(3, 8, seed=9)[0].reshape(-1, 32)
    found, same = partly_alike(24, 2)
    weights, onehot = rng.uniform(0.3, 1.5, 24), np.repeat(np.eye(3), 8, axis=0)
    texts, anchors, rows = rng.normal(size=(24, 3)), np.arange(0, 24, 2), np.array([0, 1, 5, 9, 20])

    def reduced(weights: Doubles, rows: Ints, found: Repeats) -> proker.AnchorRegression:
        folds = found.folds(rows)
        return proker.fit_on_anchors(vectors, anchors, (2.0, 0.1), weights, (onehot, texts), rows, folds)

    left = reduced(weights, rows, found).leave_one_out
    near = proker.kernel((vectors @ vectors[anchors].T).astype(np.float64), 2.0)
    for place, row in enumerate(rows.tolist()):
        operator = reduced(without(row, weights, same), rows, no_repeats(24)).operator
        np.testing.assert_allclose(left.image[place], near[row] @ operator @ onehot, atol=1e-4)
        np.testing.assert_allclose(left.text[place], texts[row] - near[row] @ operator @ texts, atol=1e-4)


def test_scaled_moments_keep_means_and_scatter() -> None:
    vectors, _ = clusters(2, 10, seed=3)
    moments = Moments(32)
    moments.add(np.repeat([0, 1], 10), vectors.reshape(-1, 32))
    half = moments.scale({0: 0.5, 1: 0.5})
    assert half.total == pytest.approx(10.0)
    np.testing.assert_allclose(half.means([0, 1]), moments.means([0, 1]))
    np.testing.assert_allclose(half.within()[0], 0.5 * moments.within()[0], atol=1e-9)
    one = moments.scale({0: 1.0, 1: 0.0})
    assert (one.count(0), one.count(1)) == (10.0, 0.0)


def test_labels_whose_examples_are_all_slightly_alike_take_no_gigabytes() -> None:
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(2, 1, 128)).astype(np.float32))
    spread = np.sqrt(0.052 / 60) * rng.normal(size=(2, 400, 60))
    vectors = centres + np.pad(spread, ((0, 0), (0, 0), (0, 68)))
    tracemalloc.start()
    try:
        head = fit(unit(vectors.astype(np.float32)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (head.sizes < 350).all()
    assert peak < 100_000_000, f"{peak:,} bytes"
