"""What the figures and pictures of an evaluation say, checked against cases worked out by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.evaluation import pictures, tables
from workers.shared import metrics
from workers.shared.examples import Item

LABELS = ["cat", "dog", "owl"]
TRUTH = ["cat", "cat", "dog", "owl"]
SCORES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0.0], [0.2, 0.2, 0.6]])


def test_a_classifier_is_counted_as_by_hand() -> None:
    found = metrics.classification(TRUTH, SCORES, LABELS)
    assert found["accuracy"] == 0.75
    assert found["chance"] == pytest.approx(1 / 3)
    assert found["commonest"] == 0.5
    assert found["per_class"]["dog"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
    }
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["confusion"] == {"labels": LABELS, "matrix": [[1, 1, 0], [0, 1, 0], [0, 0, 1]]}


def test_confusions_and_f1_are_those_of_scikit_learn() -> None:
    # a second that whoever collects these tests does without
    from sklearn.metrics import confusion_matrix, f1_score

    chance = np.random.default_rng(0)
    for count in (1, 2, 7, 50):
        truth, said = (chance.choice([*LABELS, "never said"], count).tolist() for _ in range(2))
        named = [*LABELS, "never said", "never there"]
        found = metrics.count_confusions(truth, said, named)
        assert (found == confusion_matrix(truth, said, labels=named)).all()
        wanted = f1_score(truth, said, labels=named, average=None, zero_division=0)
        assert metrics.f1_scores(found) == pytest.approx(wanted)


def test_a_truth_that_the_model_never_learned_is_a_mistake() -> None:
    found = metrics.classification(["bat", "dog"], SCORES[1:3], LABELS)
    assert found["accuracy"] == 0.5
    assert found["per_class"]["bat"]["recall"] == 0


def test_confidence_that_keeps_its_word_has_no_calibration_error() -> None:
    sure = np.repeat([0.75, 0.25], [400, 400])
    right = np.concatenate([np.arange(400) % 4 != 0, np.arange(400) % 4 == 0])
    assert metrics.calibration_error(sure, right) == pytest.approx(0)
    assert metrics.calibration_error(np.ones(10), np.arange(10) < 4) == pytest.approx(0.6)


def test_rejections_are_counted_where_none_is_likeliest() -> None:
    found = metrics.classification(TRUTH, SCORES, LABELS, none=np.array([0.9, 0.1, 0.1, 0.1]))
    assert found["rejected"] == 0.25


def test_answers_match_whatever_their_case_articles_and_stops() -> None:
    found = metrics.texts(
        ["A red circle.", "blue"],
        [["red circle", "the circle"], ["green"]],
        ["what is it?", "what colour?"],
    )
    assert found["exact_match"] == 0.5
    assert 0 < found["bleu"] < 100
    assert found["commonest"] == 1.0


def test_equal_texts_have_a_bleu_of_a_hundred() -> None:
    said = ["a red circle on a white ground", "a blue square on a black ground"]
    assert metrics.texts(said, [[text] for text in said])["bleu"] == pytest.approx(100)


def test_only_what_was_asked_for_is_kept_and_chance_beside_it() -> None:
    found = metrics.classification(TRUTH, SCORES, LABELS)
    kept = metrics.only(found, ["macro_f1", "confusion_matrix"])
    assert kept.keys() >= {"examples", "chance", "commonest", "macro_f1", "confusion"}
    assert not kept.keys() & {"accuracy", "per_class", "calibration_error", "reliability"}
    assert metrics.only(found, None) == found


def test_accuracy_f1_and_bleu_are_names_for_labels_and_texts_alike() -> None:
    labels = metrics.only(metrics.classification(TRUTH, SCORES, LABELS), ["accuracy", "f1", "bleu"])
    assert labels["f1"] == labels["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert labels["accuracy"] == 0.75
    said = ["a small red circle", "blue", ""]
    texts = metrics.only(
        metrics.texts(said, [["red circle", "a circle"], ["green"], [""]]), ["accuracy", "f1", "bleu"]
    )
    assert texts["accuracy"] == texts["exact_match"] == pytest.approx(1 / 3)
    # of "small red circle" two words of three are right and two of two are found: 2 * 2 / (3 + 2)
    assert texts["f1"] == pytest.approx((0.8 + 0 + 1) / 3)
    assert texts["bleu"] >= 0


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no examples"):
        metrics.classification([], np.zeros((0, 3)), LABELS)
    with pytest.raises(ValueError, match="no examples"):
        metrics.texts([], [])


@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_picture_can_be_opened(count: int) -> None:
    found = metrics.classification(TRUTH, SCORES, LABELS)
    wrong = [pictures.Mistake(Image.new("RGB", (40, 30), "red"), "cat", "dog " * 20, 0.7)] * count
    drawn = [
        pictures.confusion_matrix(**found["confusion"]),
        pictures.reliability_curve(found["reliability"], found["calibration_error"]),
        pictures.curves({"loss": [(1, 2.0), (2, 1.0)], "accuracy": [(1, 0.2), (2, 0.9)]}),
        pictures.contact_sheet(wrong),
    ]
    for data in drawn:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 100
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 1


def test_the_cells_of_the_matrix_name_their_images_and_mistakes_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_CELL_IMAGES", 2)
    monkeypatch.setattr(tables, "MAX_IMAGES", 3)
    items = [Item(str(number), "test", label) for number, label in enumerate(["cat"] * 4 + ["dog"])]
    said = ["cat", "cat", "cat", "dog", "cat"]
    confusion = {"labels": ["cat", "dog"], "matrix": [[3, 1], [1, 0]]}
    tables.write_confusion(tmp_path, confusion, items, said)
    found = json.loads((tmp_path / "confusion.json").read_text())
    assert (found["labels"], found["counts"]) == (confusion["labels"], confusion["matrix"])
    assert found["cells"] == [
        {"truth": "cat", "said": "dog", "count": 1, "images": ["3"]},
        {"truth": "dog", "said": "cat", "count": 1, "images": ["4"]},
        {"truth": "cat", "said": "cat", "count": 3, "images": ["0"]},
    ]


def test_so_many_mistakes_are_kept_and_questions_say_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_MISTAKES", 2)
    asked = Item("a", "test", question="how many?", answer="two")
    rows = [
        tables.build_mistake(asked, "two", "three"),
        tables.build_mistake(Item("b", None, "cat"), "cat", "dog", 0.9),
    ]
    tables.write_mistakes(tmp_path, [*rows, rows[0]])
    assert json.loads((tmp_path / "mistakes.json").read_text()) == [
        {
            "image_sha256": "a",
            "truth": "two",
            "said": "three",
            "score": None,
            "split": "test",
            "question": "how many?",
        },
        {"image_sha256": "b", "truth": "cat", "said": "dog", "score": 0.9, "split": None},
    ]
