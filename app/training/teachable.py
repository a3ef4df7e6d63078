"""Whether examples can be trained on at all: enough labels, enough examples of each, and some on the training side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.jobs.errors import NotTrainableError
from app.methods import MethodName
from app.methods.params import Params
from app.training.learning_data import LearningData
from app.training.lessons import Lesson

MAX_NAMED = 5
_MIN_ANSWERS = 2


def check_teachable(lesson: Lesson, method: MethodName, params: Params, data: LearningData) -> None:
    """Raise NotTrainableError, naming the labels, for data that the method cannot learn the lesson from.

    The same is checked again by the method itself, on the examples as they are then.
    """
    if lesson.task != "classification":
        _check_answers(data)
        return
    if not data.labels:
        raise NotTrainableError(
            f"A classifier needs at least two labels; {data.name} has no labelled examples: {_teach_more(data)}."
        )
    _check_training_side(data, data.examples("classification"))
    if len(data.labels) < 2:
        raise NotTrainableError(
            f"A classifier needs at least two labels; {data.name} has only one label, '{next(iter(data.labels))}': "
            f"{_teach_more(data)}."
        )
    untaught = [label for label in data.labels if not data.count_trainable(label)]
    if untaught:
        counts = ", ".join(
            f"'{label}' ({_describe_held_out(data.label_splits[label])})" for label in untaught[:MAX_NAMED]
        )
        raise NotTrainableError(
            f"The training split of {data.name} holds no example of {counts}{_more(untaught)}, so that nothing can be "
            f"learned of {'it' if len(untaught) == 1 else 'them'}: put some of the examples into the training split, "
            "leave the label out, or prepare the dataset again with own_split=ignore, which splits all of it anew."
        )
    _check_amounts(lesson, method, params, data)


def _check_answers(data: LearningData) -> None:
    if not data.answers:
        raise NotTrainableError(
            f"{_capital(data.name)} holds no examples of answers: add some with "
            f"POST /v1/collections/{data.slug}/answers, or `vision fewshot add-example`."
        )
    _check_training_side(data, data.answers)
    taught = data.splits.get("train", 0) if data.splits else data.answers
    if taught < _MIN_ANSWERS <= data.answers:
        raise NotTrainableError(
            f"The training split of {data.name} holds a single example ({_describe_held_out(data.splits)}); "
            f"{_MIN_ANSWERS} are the least to learn from."
        )


def _check_training_side(data: LearningData, examples: int) -> None:
    if data.splits and not data.splits.get("train"):
        raise NotTrainableError(
            f"{_capital(data.name)} has no examples to train on: its own split holds out all {examples} "
            f"({_describe_held_out(data.splits)}). Put some of them into the training split, or prepare the dataset "
            "again with own_split=ignore, which splits all of it anew."
        )


def _check_amounts(lesson: Lesson, method: MethodName, params: Params, data: LearningData) -> None:
    if lesson.kind != "encoder":
        return
    least = params.min_examples_per_label
    few = [label for label in data.labels if data.count_trainable(label) < least]
    if few:
        where = "" if data.is_collection else " in the training split"
        raise NotTrainableError(
            f"The method '{method}' compares examples of a label with one another and needs {least} of each{where}; "
            f"{_list_labels(few)} {'has' if len(few) == 1 else 'have'} only one: teach another one, or take the "
            "strategy siamese_oneshot, for which one will do."
        )
    short = [label for label, count in data.labels.items() if count < params.min_examples_in_all]
    if short:
        raise NotTrainableError(
            f"The method '{method}' needs {params.min_examples_in_all} examples of each label; {_list_labels(short)} "
            f"{'has' if len(short) == 1 else 'have'} fewer."
        )


def _list_labels(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels[:MAX_NAMED]) + _more(labels)


def _more(labels: Sequence[str]) -> str:
    return f" and {len(labels) - MAX_NAMED} more" if len(labels) > MAX_NAMED else ""


def _describe_held_out(counts: Mapping[str, int]) -> str:
    """`validation 2, test 3`."""
    return ", ".join(f"{split} {count}" for split, count in counts.items() if split != "train" and count)


def _teach_more(data: LearningData) -> str:
    if data.is_collection:
        return f"teach more with POST /v1/collections/{data.slug}/examples"
    return "add examples of another one, and send it again"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
