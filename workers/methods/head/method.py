"""The closed-form head as a method: nothing is trained, a collection's classifier becomes a model of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from app.inference.protocols import Vectors
from app.models.classifiers import ClassifierNote, Weights
from workers.methods.common.expecting import count_labels
from workers.methods.common.on_features import FeatureMethod

_MAX_KEPT = 100
"""Examples kept a label: the head is fitted again from these when it is loaded."""


class HeadMethod(FeatureMethod):
    """See `workers.shared.method.TrainingMethod`."""

    def copies(self) -> int:
        """None are learned from; they are judged by where nothing else is left for that."""
        return 0 if self.validation or self.test else super().copies()

    def build(self) -> nn.Module:
        """Nothing to train."""
        self.texts = self.features.texts(self.labels, self.examples.descriptions)
        return nn.Identity()

    def fit(self) -> None:
        """One step: it is all solved in closed form when the weights are loaded."""
        self.run.step(1, 1)

    def weights(self, x: Vectors, y: np.ndarray[Any, Any]) -> Weights:
        """Examples and texts themselves."""
        kept = np.concatenate([np.flatnonzero(y == label)[:_MAX_KEPT] for label in range(len(self.labels))])
        return Weights(x[kept, 0], y[kept], self.texts)

    def note(self, y: np.ndarray[Any, Any]) -> ClassifierNote:
        """With how often each label is expected."""
        counts = count_labels(self.params, self.examples, y)
        return super().note(y).model_copy(update={"label_counts": counts})


METHOD = HeadMethod
