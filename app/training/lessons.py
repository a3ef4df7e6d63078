"""What a job teaches to which kind of model: labels to an encoder, or questions, captions or labels to a
vision-language model, for which labels are the answers to one question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import InvalidInputError
from app.inference.sources import Kind
from app.jobs.errors import NotTrainableError
from app.methods import METHODS, MethodName, methods_for
from app.methods.params import DEFAULT_QUESTION
from app.methods.tasks import MIN_A_LABEL_TO_HOLD_OUT, MIN_ANSWERS_TO_HOLD_OUT, Task
from app.training.bases import DEFAULT
from app.training.learning_data import LearningData

_MAX_NAMED = 5


class _Model(Protocol):
    @property
    def family(self) -> str: ...
    @property
    def kind(self) -> Kind: ...


class _Strategy(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def task(self) -> Task: ...
    @property
    def method(self) -> MethodName | None: ...
    @property
    def model(self) -> _Model: ...


@dataclass(frozen=True)
class Lesson:
    """What is taught to what."""

    kind: Kind
    task: Task
    """Of the examples: `classification` where labels are taught, whatever the model."""

    @property
    def asks_for_labels(self) -> bool:
        """Whether labels become the answers of a vision-language model."""
        return self.kind == "vlm" and self.task == "classification"

    @property
    def serving_task(self) -> Task:
        """What the model has to be able to do."""
        return "vqa" if self.asks_for_labels else self.task


def resolve_kind(strategy: _Strategy, base_kind: Kind | None) -> Kind:
    """Which kind of model the strategy trains over a base of this kind, whatever the data: a strategy for any family
    follows the base. Raises NotTrainableError where its method trains no such model.
    """
    if base_kind != "vlm" or not _follows_base(strategy):
        return strategy.model.kind
    able = methods_for("vlm")
    if strategy.method not in able:
        raise NotTrainableError(
            f"The method '{strategy.method}' trains encoders, not vision-language models: take "
            f"{' or '.join(able)}, or an encoder as the base model."
        )
    return "vlm"


def _follows_base(strategy: _Strategy) -> bool:
    return strategy.model.family == DEFAULT and strategy.model.kind == "encoder"


def resolve_lesson(strategy: _Strategy, data: LearningData, base_kind: Kind | None) -> Lesson:
    """What the strategy teaches with this data; `base_kind` is that of a base model that the client named.

    A strategy for any family whose method trains both kinds of models follows the base and the data; one for questions
    takes labels where the data holds no answers. Raises NotTrainableError where method, model and data do not go
    together.
    """
    task, only_answers = strategy.task, not data.labels and data.answers > 0
    only_answers = only_answers and task == "classification"
    if base_kind is None and only_answers and strategy.method in methods_for("vlm"):
        base_kind = "vlm"
    kind = resolve_kind(strategy, base_kind)
    if only_answers and kind == "vlm" and _follows_base(strategy):
        task = "vqa" if "vqa" in data.tasks else "caption"
    if kind == "vlm" and task == "vqa" and data.labels and not data.answers:
        task = "classification"
    if task not in data.tasks:
        has = " and ".join(sorted(data.tasks))
        raise NotTrainableError(
            f"The strategy '{strategy.name}' is for {task}; {data.name} holds examples of {has}."
        )
    if strategy.method is not None and task not in METHODS[strategy.method].learns.get(kind, ()):
        raise NotTrainableError(
            f"The method '{strategy.method}' teaches no {task} to models of kind '{kind}': "
            f"take {' or '.join(methods_for(kind))}."
        )
    return Lesson(kind, task)


def with_question(lesson: Lesson, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the question whose answers are the labels; raises InvalidInputError for a question that
    nothing would ask.
    """
    if lesson.asks_for_labels:
        return {**params, "question": params.get("question") or DEFAULT_QUESTION}
    if params.get("question") is not None:
        raise InvalidInputError(
            "params.question: it is asked where a vision-language model learns labels; these examples "
            + (
                "train an encoder."
                if lesson.kind == "encoder"
                else "bring questions or captions of their own."
            )
        )
    return params


def remarks_on_few(lesson: Lesson, data: LearningData) -> tuple[str, ...]:
    """What a person should know who trains on very few examples; empty where there are enough to hold some out."""
    if data.is_split:
        return ()
    if lesson.task != "classification":
        if data.answers >= MIN_ANSWERS_TO_HOLD_OUT:
            return ()
        return (
            f"{_capital(data.name)} holds only {data.answers} examples: the model will repeat what they say about "
            f"images much like them, and learn little beyond. Below {MIN_ANSWERS_TO_HOLD_OUT} examples none is held "
            "out, so that it is not judged: try it on images of your own.",
        )
    few = [label for label, count in data.labels.items() if count < MIN_A_LABEL_TO_HOLD_OUT]
    if not few:
        return ()
    named = ", ".join(f"'{label}' ({data.labels[label]})" for label in few[:_MAX_NAMED])
    if len(few) > _MAX_NAMED:
        named += f" and {len(few) - _MAX_NAMED} more"
    judged = (
        "the model is not judged" if len(few) == len(data.labels) else "the figures leave these labels out"
    )
    return (
        f"Very few examples of {named}: the model will know images much like them, and tell others apart poorly. "
        f"Below {MIN_A_LABEL_TO_HOLD_OUT} examples of a label none of them is held out, so that {judged}: try it "
        "on images of your own. Five to ten different images of each label are a good start.",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
