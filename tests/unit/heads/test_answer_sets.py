"""Answer sets without a promise, and what a head remembers of leaving examples out."""

from __future__ import annotations

import numpy as np
import pytest

from app.collections.coverage import cover
from app.heads import SupportSet, fit_head, gathering
from app.heads.answer_sets import answer_sets
from app.models.classifiers import ClassifierNote, TrainedClassifier, Weights
from tests.unit.heads.head_data import clusters, generic_priors, support_set


def test_without_a_promise_the_likeliest_labels_add_up_to_the_coverage() -> None:
    scores = np.array([[0.1, 0.5, 0.2], [0.0, 0.8, 0.0], [0.0, 0.0, 0.0]], np.float32)
    sets = answer_sets(None, scores, 0.8)
    assert [found.labels.tolist() for found in sets[:2]] == [[1, 2], [1]]
    assert len(sets[2].labels)
    assert {found.guarantee for found in sets} == {"none"}
    with pytest.raises(ValueError, match="coverage"):
        answer_sets(None, scores, 1.0)


def test_a_trained_model_promises_nothing_and_says_why() -> None:
    vectors, _ = clusters(3, 16)
    note = ClassifierNote(
        method="few_shot",
        family="other",
        base_model="other",
        base_fingerprint="0" * 16,
        labels=["a", "b", "c"],
        dim=32,
        temperature=50.0,
    )
    classifier = TrainedClassifier(note, Weights(vectors.reshape(-1, 32), np.repeat(np.arange(3), 16)))
    covered = cover(classifier, classifier.predict(vectors[:, 0]).scores, 0.9)
    assert covered.guarantee == "none"
    assert [warning.code for warning in covered.warnings] == ["trained_model"]
    assert [found[0] for found in covered.sets] == [0, 1, 2]


def test_recalls_follow_their_labels_and_a_single_example_has_none() -> None:
    vectors, _ = clusters(3, 6, noise=0.3)
    supports = SupportSet(32)
    supports.add(np.repeat(np.arange(3), [6, 6, 1]), np.concatenate([vectors[0], vectors[1], vectors[2, :1]]))
    for ids in ([0, 1, 2], [2, 0, 1]):
        head = fit_head([str(label) for label in ids], None, supports, ids, generic_priors())
        at = {label: ids.index(label) for label in ids}
        assert [int(head.counts[at[label]]) for label in range(3)] == [6, 6, 1]
        assert [int(head.left_out[at[label]]) for label in range(3)] == [6, 6, 0]
        assert head.recalls[at[0]] > 0.5
        assert np.isnan(head.recalls[at[2]])


def test_a_promise_on_average_needs_fewer_examples_than_one_for_each_label() -> None:
    found = {}
    for each in (5, 12, 24):
        vectors, _ = clusters(3, each)
        head = fit_head(list("abc"), None, support_set(vectors), [0, 1, 2], generic_priors())
        found[each] = cover(head, head.predict(vectors[:, 0]).scores, 0.9)
    assert {each: covered.guarantee for each, covered in found.items()} == {
        5: "none",
        12: "average",
        24: "label",
    }
    assert "15 different examples of 3 labels" in found[5].warnings[0].sentence
    assert not found[24].warnings


def test_where_labels_are_too_many_to_leave_examples_out_their_numbers_are_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "CORE", 2)
    vectors, _ = clusters(3, 150)
    head = fit_head(list("abc"), None, support_set(vectors), [0, 1, 2], generic_priors())
    covered = cover(head, head.predict(vectors[:, 0]).scores, 0.9)
    assert covered.guarantee == "none"
    assert "450 different examples of 3 labels, a median of 150." in covered.warnings[0].sentence
