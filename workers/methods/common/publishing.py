"""Of an encoder that was trained, what is published: the best of three by what was held out, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.family import AdaptableEncoder, CutTower, Family
from app.inference.protocols import Vectors
from app.jobs.spec import ModelCard
from app.models.classifiers import (
    Adapted,
    ClassifierNote,
    TrainedClassifier,
    Weights,
    save_classifier,
    select_exemplars,
)
from workers.methods.common.calibrating import fit_scale, judge_classifier, judgement_of
from workers.methods.common.choosing import (
    MAX_FITTED,
    MAX_KEPT,
    NAMES,
    Choice,
    Losses,
    choose,
    describe,
    first_of_each,
    losses_of,
    plain_accuracies,
)
from workers.methods.common.classifiers import describe_classifier, note_classifier
from workers.methods.common.expecting import count_labels, shift_logits
from workers.methods.common.looping import Parts, StepLoop
from workers.methods.common.reproducible import deterministic
from workers.methods.common.splits import targets
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement
from workers.shared.metrics import NOT_JUDGED


class Publishing(StepLoop):
    """A closed-form head on the encoder as it was, one on what was trained, or the classifier that was trained: a
    subclass trains the weights, and says what images and labels are with them.
    """

    examples: Examples
    labels: list[str]
    family: Family
    base: AdaptableEncoder | CutTower
    adapted: Adapted
    train: list[Item]
    validation: list[Item]
    test: list[Item]
    y: NDArray[Any]
    validation_y: NDArray[Any]
    """The labels of `train` and of `validation`, by their indices."""
    learned_from: int
    """How many examples moved the weights."""
    untouched: Parts
    """What is trained, as it was at first."""
    one_thread = True
    """Whether what is trained is too small to gain by more threads."""
    scale = 1.0
    """Of the trained classifier's logits."""
    published: Choice = "trained"
    unchosen: Choice = "trained"
    """What is published where nothing was held out to choose by."""
    beside: dict[str, float]
    """Accuracies of what is chosen from and of plain classifiers, on the images that the model is judged on."""
    judgement: Judgement | None = None
    first: dict[str, Any] | None = None
    """What a first pass came to, once more than it learned from is taken in."""

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name, in a fixed order."""
        raise NotImplementedError

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """float32[n, d]: unit features of unchanged images by the encoder as it is now."""
        raise NotImplementedError

    def logits_of(self, features: Vectors) -> NDArray[np.float64]:
        """float64[n, C] of such features."""
        rows, bias, _ = self.head()
        return np.asarray(features @ rows.T + bias, np.float64)

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """rows float32[C, d], bias float32[C] of the logits, and the labels' texts float32[C, d] or None."""
        raise NotImplementedError

    def write(self, folder: Path) -> list[str]:
        """Put the encoder's changed weights into the folder; their files."""
        raise NotImplementedError

    def settle(self) -> None:
        """Choose what is published by the loss on what was held out; ends with the weights that belong to it."""
        trained, items = self.current(), self.test or self.validation
        losses: dict[Choice, Losses] = {}
        truth = np.array(targets(items, self.labels), int)
        for name in NAMES if items else ():
            self._take(name, trained)
            validation_features = self.features_of(self.validation)
            if name == "trained":
                self.scale = fit_scale(self.logits_of(validation_features), self.validation_y)
            classifier = self.classifier(self.head_weights())
            if len(validation_features):
                losses[name] = losses_of(classifier.predict(validation_features), self.validation_y)
            evaluation_features = self.features_of(self.test) if self.test else validation_features
            predicted = classifier.predict(evaluation_features).scores.argmax(axis=1)
            self.beside[name] = float((predicted == truth).mean())
            if name == "head":
                self.beside |= plain_accuracies(
                    *self.select_for_heads(MAX_FITTED), evaluation_features, truth
                )
        if not losses:
            self._take(self.unchosen, trained)
            return
        summary = ", ".join(f"{NAMES[name]} {found.mean():.3f}" for name, found in losses.items())
        self.run.log(f"Log loss on the {len(self.validation_y)} images to choose by: {summary}.")
        if self.params.publish == "trained":
            del losses["head"]
        self._take("head" if "head" in losses and self.best_step == 0 else choose(losses), trained)
        if self.published == "head":
            self.best_step = 0

    def _take(self, name: Choice, trained: Parts) -> None:
        """Be what would be published under this name."""
        self.published = name
        self.put(self.untouched if name == "head" else trained)

    def evaluate(self) -> dict[str, Any]:
        """Figures of the classifier on examples that it was not trained on, and what it was chosen from beside them."""
        if self.first is not None:
            again = "trained_again_on" if self.published == "trained" else "refitted_on"
            return {**self.first["figures"], again: len(self.train)}
        with deterministic(one_thread=self.one_thread):
            return self.judge()

    def judge(self) -> dict[str, Any]:
        """The figures, of what is published as it is now; keeps the judgement."""
        items = self.test or self.validation
        known = {"best_step": self.best_step, "published": self.published}
        if not items:
            return {"evaluated_on": NOT_JUDGED, **known}
        found = self.classifier(self.head_weights()).predict(self.features_of(items))
        figures = judge_classifier(items, found, self.labels)
        on = self.evaluation_split
        self.judgement = judgement_of(self.train, items, found, self.labels, on)
        beside = {**self.beside, "chance": figures["chance"], "commonest": figures["commonest"]}
        self.run.log(describe(beside, len(items), self.published))
        return {**figures, "evaluated_on": on, **known, "beside": beside}

    def save(self, folder: Path) -> ModelCard:
        """The changed weights, the head, and vision.json."""
        with deterministic(one_thread=self.one_thread):
            weights = self.head_weights()
            note = self._note(weights)
        changed, files = self.published != "head", save_classifier(folder, note, weights)
        if changed:
            files += self.write(folder)
        trained = sum(tensor.numel() for tensor in self.trained_parameters().values()) if changed else 0
        data = {"trained_on": self.learned_from}
        if self.published != "trained":
            data["refitted_on"] = len(self.train)
        return describe_classifier(note, files, data, trained)

    @property
    def evaluation_split(self) -> Literal["test", "validation"]:
        """What the figures are of."""
        return "test" if self.test else "validation"

    def head_weights(self) -> Weights:
        """What the classifier that is published is made of, over the encoder as it is now."""
        if self.published != "trained":
            return Weights(*self.select_for_heads(), self.texts())
        rows, bias, texts = self.head()
        exemplars, owners = select_exemplars(self.features_of(self.train), self.y)
        scale = np.float32(self.scale)
        shift = shift_logits(self.params, self.examples, self.y, is_balanced=self.is_balanced)
        return Weights(exemplars, owners.astype(np.int64), texts, (), rows * scale, bias * scale + shift)

    def texts(self) -> Vectors | None:
        """float32[C, d]: the labels' texts in the space of the features as they are now, where it has any."""
        return self.head()[2]

    def select_for_heads(self, most: int | None = None) -> tuple[Vectors, NDArray[np.int64]]:
        """Features float32[n, d] and labels int64[n] of the training examples that closed-form heads are fitted on: at
        most `MAX_KEPT` a label, and as many in all as `most` says, but one a label.
        """
        each = MAX_KEPT if most is None else min(MAX_KEPT, max(most // len(self.labels), 1))
        rows = first_of_each(self.y, each)
        return self.features_of([self.train[row] for row in rows]), self.y[rows].astype(np.int64)

    def classifier(self, weights: Weights) -> TrainedClassifier:
        """As it is served with these weights."""
        return TrainedClassifier(self._note(weights), weights)

    @property
    def is_balanced(self) -> bool:
        """Whether the loss weighs labels by the inverse of their frequency."""
        return False

    def _note(self, weights: Weights) -> ClassifierNote:
        adapted = None if self.published == "head" else self.adapted
        counts = count_labels(self.params, self.examples, self.y) if weights.rows is None else None
        return note_classifier(self.run.spec, self.family.name, self.base, self.labels, adapted, counts)
