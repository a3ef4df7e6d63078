"""A fitted head: features in, calibrated scores out, at a cost that does not depend on what is stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from app.heads.conformal import Conformal
from app.heads.noise import Suspect
from app.heads.types import Doubles, Floats, Ints, sigmoid, softmax, unit
from app.heads.zero_shot import TextRows


class Prediction(NamedTuple):
    """What m images show; `scores` and `none` of an image add up to 1."""

    scores: Floats
    """float32[m, C]: calibrated probability of each label, in the order of the head's labels."""
    none: Floats
    """float32[m]: probability that it is none of the labels."""
    similarity: Floats | None
    """float32[m, C]: cosine to the label's nearest exemplar, 0 for a label without any; None in zero-shot."""


@dataclass(frozen=True)
class Nearest:
    """The largest cosine to each label's exemplars; exemplars are grouped by label."""

    exemplars: Ints
    """int64[e]: columns of the cosines that are exemplars."""
    starts: Ints
    """int64[p]: where each label's group begins in `exemplars`."""
    columns: Ints
    """int64[p]: which label each group belongs to."""
    classes: int

    def rearrange(self, order: Ints) -> Nearest:
        """Label `order[i]` becomes label i."""
        return replace(self, columns=np.argsort(order)[self.columns])

    def of(self, cosines: Floats | Doubles) -> Doubles:
        """float64[m, C] of cosines [m, anchors]; -1 for a label without exemplars."""
        values: Doubles = np.full((len(cosines), self.classes), -1.0)
        values[:, self.columns] = np.maximum.reduceat(cosines[:, self.exemplars], self.starts, axis=1)
        return values


@dataclass(frozen=True)
class Scorer:
    """Logits of C labels: kernel regression on the first k anchors, on top of a linear function of the features.

    Texts, Gaussian discriminants and the labels' shares are all linear, so that one matrix holds them together.
    """

    weights: Floats
    """float32[d, C]"""
    bias: Floats
    """float32[C]"""
    width: float
    coefficients: Floats
    """float32[k, C]"""

    @classmethod
    def of(cls, weights: Doubles, bias: Doubles, width: float, coefficients: Doubles) -> Scorer:
        """Less what all labels share, which softmax ignores, so that float32 is exact enough."""
        return cls(
            np.ascontiguousarray(weights - weights.mean(axis=1, keepdims=True), np.float32),
            (bias - bias.mean()).astype(np.float32),
            width,
            np.ascontiguousarray(coefficients, np.float32),
        )

    def rearrange(self, order: Ints) -> Scorer:
        """Label `order[i]` becomes label i."""
        weights, coefficients = self.weights[:, order], self.coefficients[:, order]
        return Scorer(
            np.ascontiguousarray(weights), self.bias[order], self.width, np.ascontiguousarray(coefficients)
        )

    def logits(self, features: Floats, cosines: Floats) -> Doubles:
        """float64[m, C] of features float32[m, d] and their cosines with the anchors float32[m, n]."""
        values: Floats = features @ self.weights
        values += self.bias
        if len(self.coefficients):
            near = cosines[:, : len(self.coefficients)]
            values += np.exp(np.float32(self.width) * (near - np.float32(1.0))) @ self.coefficients
        return values.astype(np.float64)


@dataclass(frozen=True)
class Evidence:
    """Log-odds that an image shows a label at all, from its nearest exemplar or from the label's text."""

    unrelated: float
    image_offset: float
    image_slope: float
    text_offset: float
    text_slope: float
    seen: Ints
    """int64[p]: labels that have examples."""
    unseen: Ints
    """int64[q]: labels that have only a text."""

    def rearrange(self, order: Ints) -> Evidence:
        """Label `order[i]` becomes label i."""
        places = np.argsort(order)
        return replace(self, seen=np.sort(places[self.seen]), unseen=np.sort(places[self.unseen]))

    def of(self, nearest: Doubles, deviations: Doubles | None) -> Doubles:
        """float64[m, C] of cosines to the nearest exemplars and of text deviations, both float64[m, C]."""
        if deviations is not None and not len(self.seen):
            by_text: Doubles = self.text_offset + self.text_slope * deviations
            return by_text
        relative = (nearest - self.unrelated) / (1.0 - self.unrelated)
        values: Doubles = self.image_offset + self.image_slope * relative
        if len(self.unseen) and deviations is not None:
            values[:, self.unseen] = self.text_offset + self.text_slope * deviations[:, self.unseen]
        return values


@dataclass(frozen=True)
class Head:
    """A classifier over `labels`; immutable, and safe to share among threads."""

    labels: list[str]
    kind: str
    """`zero_shot`, or the parts that images are told apart by: `proker`, `gda` or `proker+gda`."""
    threshold: float
    """Best score below which an image is rejected unless the client says otherwise."""
    anchors: Floats
    """float32[n, d]: the vectors that cosines are taken with; those of the kernel come first, then exemplars."""
    nearest: Nearest | None
    texts: TextRows | None
    scorer: Scorer
    evidence: Evidence
    suspects: tuple[Suspect, ...] = ()
    """Examples whose labels look wrong, the most suspect first."""
    conformal: Conformal | None = None
    """Sets of labels that hold the truth with a wanted probability; None without any example."""
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[C]: vectors that the head was fitted on, by label; empty in zero-shot."""
    left_out: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[C]: how many of them were left out in turn."""
    recalls: Doubles = field(default_factory=lambda: np.zeros(0))
    """float64[C]: the share of these that is told right, NaN where there are none."""
    confusions: Ints = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    """int64[m, 3]: a label, another one, and how many of the first's left-out vectors are told as the second."""

    def rearrange(self, order: Ints) -> Head:
        """The same head with label `order[i]` as label i."""
        places = np.argsort(order)
        return replace(
            self,
            labels=[self.labels[i] for i in order],
            nearest=None if self.nearest is None else self.nearest.rearrange(order),
            texts=None if self.texts is None else self.texts.rearrange(order),
            scorer=self.scorer.rearrange(order),
            evidence=self.evidence.rearrange(order),
            suspects=tuple(
                suspect._replace(label=int(places[suspect.label]), told=int(places[suspect.told]))
                for suspect in self.suspects
            ),
            conformal=None if self.conformal is None else self.conformal.rearrange(order),
            counts=self.counts[order] if len(self.counts) else self.counts,
            left_out=self.left_out[order] if len(self.left_out) else self.left_out,
            recalls=self.recalls[order] if len(self.recalls) else self.recalls,
            confusions=np.stack([*places[self.confusions[:, :2].T], self.confusions[:, 2]], axis=1),
        )

    def predict(self, features: Floats) -> Prediction:
        """Scores of float32[m, d]; rows are scaled to unit norm first."""
        features = unit(features if features.ndim == 2 else np.atleast_2d(features))
        cosines: Floats = features @ self.anchors.T
        classes = len(self.labels)
        deviations = None
        if self.texts is not None and len(self.evidence.unseen):
            deviations = self.texts.cosines(features) / self.texts.deviation
        logits = self.scorer.logits(features, cosines)
        near = np.full((len(features), classes), -1.0) if self.nearest is None else self.nearest.of(cosines)
        known = sigmoid(np.maximum.reduce(self.evidence.of(near, deviations), axis=1))
        scores = softmax(logits) * known[:, None]
        similarity = None
        if self.nearest is not None:
            similarity = near.astype(np.float32)
            similarity[:, self.evidence.unseen] = 0.0
        return Prediction(scores.astype(np.float32), (1.0 - known).astype(np.float32), similarity)
