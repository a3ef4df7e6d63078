"""The figures by which heads are compared say what their definitions say, on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scores import (
    auroc,
    balanced_accuracy,
    best_balance,
    compare_paired,
    expected_calibration_error,
    reliability,
)


def test_bins_hold_equally_many_answers_where_scores_crowd() -> None:
    scores = np.r_[np.linspace(0.98, 0.99, 90), np.linspace(0.1, 0.2, 10)]
    found = reliability(scores, np.ones(100), bins=10)
    assert found.share == pytest.approx([0.1] * 10)
    assert found.confidence[0] == pytest.approx(0.15)
    assert np.all(np.diff(found.confidence) > 0)


def test_fewer_answers_than_bins_make_fewer_bins() -> None:
    found = reliability(np.array([0.2, 0.8]), np.array([0.0, 1.0]))
    assert found.share == pytest.approx([0.5, 0.5])


def test_calibration_error_is_the_gap_between_score_and_share_of_right_answers() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    right = (rng.uniform(0, 1, 20_000) < scores).astype(np.float64)
    assert expected_calibration_error(scores, right) < 0.02
    assert expected_calibration_error(scores * 0.5, right) == pytest.approx(0.25, abs=0.02)
    assert expected_calibration_error(np.full(90, 0.9), np.zeros(90)) == pytest.approx(0.9)
    assert expected_calibration_error(np.zeros(0), np.zeros(0)) == 0.0


def test_best_balance_finds_the_threshold_that_no_grid_point_beats() -> None:
    known, right = np.array([0.9, 0.8, 0.7, 0.3]), np.array([1.0, 1.0, 0.0, 1.0])
    unknown = np.array([0.75, 0.2, 0.1, 0.1])
    value, threshold = best_balance(known, right, unknown)
    by_grid = max(
        (np.mean(right * (known >= cut)) + np.mean(unknown < cut)) / 2 for cut in np.linspace(0, 1, 2001)
    )
    assert value == pytest.approx(by_grid)
    assert (np.mean(right * (known >= threshold)) + np.mean(unknown < threshold)) / 2 == pytest.approx(value)


def test_best_balance_takes_equal_scores_together_and_may_refuse_all() -> None:
    value, threshold = best_balance(np.full(4, 0.5), np.ones(4), np.full(4, 0.5))
    assert value == 0.5
    assert best_balance(np.array([0.1]), np.array([0.0]), np.array([0.9]))[0] == 0.5
    assert threshold == 0.5 or threshold == np.inf


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == pytest.approx(3.5 / 4)


def test_balanced_accuracy_weighs_labels_not_images() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    assert balanced_accuracy(np.zeros(10, np.int64), truth) == 0.5


def test_paired_differences_have_the_error_of_the_differences_alone() -> None:
    theirs = np.array([0.2, 0.5, 0.9, 0.6])
    found = compare_paired(theirs + np.array([0.1, 0.1, 0.1, -0.1]), theirs)
    assert found.difference == pytest.approx(0.05)
    assert found.error == pytest.approx(0.1 / 2)
    assert (found.wins, found.losses) == (3, 1)
