"""Data that no method can learn from is refused by name before there is a job, whatever the method."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.jobs.errors import NotTrainableError
from app.jobs.spec import DataRef
from app.methods import METHODS
from app.methods.tasks import BaseKind
from app.training.learning_data import LearningData
from app.training.lessons import Lesson
from app.training.teachable import check_teachable

LABELLED = [
    (method, kind)
    for method, about in METHODS.items()
    for kind, tasks in about.learns.items()
    if "classification" in tasks
]


def dataset(**labels: tuple[int, int, int]) -> LearningData:
    """Labels with so many examples in train, validation and test."""
    splits = ("train", "validation", "test")
    counts = {label: dict(zip(splits, several, strict=True)) for label, several in labels.items()}
    return LearningData(
        DataRef(dataset=uuid.uuid4()),
        "the dataset 'mugs'",
        "mugs",
        frozenset({"classification"}),
        labels={label: sum(several) for label, several in labels.items()},
        label_splits=counts,
        splits={split: sum(count[split] for count in counts.values()) for split in splits},
        is_split=True,
    )


def refusal(data: LearningData, method: str, kind: BaseKind, **params: Any) -> str:
    with pytest.raises(NotTrainableError) as found:
        check(data, method, kind, **params)
    return str(found.value.detail)


def check(data: LearningData, method: str, kind: BaseKind, **params: Any) -> None:
    checked = METHODS[method].params.model_validate(params)
    check_teachable(Lesson(kind, "classification"), method, checked, data)


@pytest.mark.parametrize(("method", "kind"), LABELLED)
def test_every_method_is_spared_what_it_cannot_learn(method: str, kind: BaseKind) -> None:
    assert "holds out all 6 (validation 2, test 4)" in refusal(
        dataset(cup=(0, 1, 2), bowl=(0, 1, 2)), method, kind
    )
    said = refusal(dataset(cup=(9, 1, 1), bowl=(9, 1, 1), jug=(0, 0, 3), pot=(0, 2, 0)), method, kind)
    assert "no example of 'jug' (test 3), 'pot' (validation 2)" in said
    assert "only one label, 'cup'" in refusal(dataset(cup=(9, 1, 1)), method, kind)
    assert "no labelled examples" in refusal(dataset(), method, kind)
    check(dataset(cup=(8, 1, 1), bowl=(2, 0, 0)), method, kind)


def test_what_a_method_compares_lies_on_the_training_side() -> None:
    one_left = dataset(cup=(9, 1, 1), bowl=(1, 1, 1))
    for method in ("prototypical", "maml"):
        assert "needs 2 of each in the training split; 'bowl' has only one" in refusal(
            one_left, method, "encoder"
        )
    assert "'bowl'" in refusal(one_left, "siamese", "encoder", augment=False)
    assert "'bowl' has fewer" in refusal(dataset(cup=(9, 0, 0), bowl=(1, 0, 0)), "finetune", "encoder")
    for method in ("siamese", "head", "lora", "finetune"):
        check(one_left, method, "encoder")
    check(dataset(cup=(9, 0, 0), bowl=(1, 0, 0)), "finetune", "vlm")


def test_answers_need_a_training_side_too() -> None:
    params = METHODS["lora"].params()

    def answers(**splits: int) -> LearningData:
        return LearningData(
            DataRef(dataset=uuid.uuid4()),
            "the dataset 'talk'",
            "talk",
            frozenset({"vqa"}),
            answers=sum(splits.values()),
            splits=splits,
        )

    lesson = Lesson("vlm", "vqa")
    with pytest.raises(NotTrainableError, match=r"holds out all 7 \(test 7\)"):
        check_teachable(lesson, "lora", params, answers(train=0, validation=0, test=7))
    with pytest.raises(NotTrainableError, match="a single example"):
        check_teachable(lesson, "lora", params, answers(train=1, validation=0, test=7))
    check_teachable(lesson, "lora", params, answers(train=2, validation=0, test=7))
