"""A fitted head: features in, calibrated scores out, at a cost that does not depend on what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from app.heads.gda import Gda
from app.heads.proker import kernel
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

    def of(self, cosines: Doubles) -> Doubles:
        """float64[m, C] of float64[m, supports]; -1 for a label without exemplars."""
        values: Doubles = np.full((len(cosines), self.classes), -1.0)
        values[:, self.columns] = np.maximum.reduceat(cosines[:, self.exemplars], self.starts, axis=1)
        return values


class Scorer(Protocol):
    """Logits of labels from features."""

    def logits(self, features: Floats, cosines: Doubles, texts: Doubles) -> Doubles:
        """float64[m, C] of features float32[m, d], their cosines with the anchors and with the texts."""


@dataclass(frozen=True)
class TextScorer:
    """Texts alone."""

    def logits(self, features: Floats, cosines: Doubles, texts: Doubles) -> Doubles:
        return texts


@dataclass(frozen=True)
class KernelScorer:
    """Texts plus kernel regression of what they leave over."""

    b: float
    scale: float
    coefficients: Floats
    """float32[n, C]"""

    def logits(self, features: Floats, cosines: Doubles, texts: Doubles) -> Doubles:
        residual = kernel(cosines, self.b).astype(np.float32) @ self.coefficients
        return texts + self.scale * residual.astype(np.float64)


@dataclass(frozen=True)
class GaussianScorer:
    """Texts plus discriminants; labels without examples get the mean of the others."""

    gda: Gda
    scale: float
    columns: Ints
    classes: int

    def logits(self, features: Floats, cosines: Doubles, texts: Doubles) -> Doubles:
        found = self.scale * self.gda.discriminants(features)
        values: Doubles = np.repeat(found.mean(axis=1, keepdims=True), self.classes, axis=1)
        values[:, self.columns] = found
        return texts + values


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
    """`zero_shot`, `proker` or `gda`."""
    threshold: float
    """Best score below which an image is rejected unless the client says otherwise."""
    anchors: Floats
    """float32[n, d]: the vectors that cosines are taken with: supports, or exemplars of a large collection."""
    nearest: Nearest | None
    texts: TextRows | None
    text_scales: Doubles
    """float64[C]: logits a text cosine is worth, by label."""
    scorer: Scorer
    evidence: Evidence

    def predict(self, features: Floats) -> Prediction:
        """Scores of float32[m, d]; rows are scaled to unit norm first."""
        features = unit(features if features.ndim == 2 else np.atleast_2d(features))
        cosines: Doubles = np.asarray(features @ self.anchors.T, np.float64)
        classes = len(self.labels)
        deviations, texts = None, np.zeros((len(features), classes))
        if self.texts is not None:
            raw = self.texts.cosines(features)
            deviations, texts = raw / self.texts.deviation, raw * self.text_scales
        logits = self.scorer.logits(features, cosines, texts)
        near = np.full((len(features), classes), -1.0) if self.nearest is None else self.nearest.of(cosines)
        known = sigmoid(np.maximum.reduce(self.evidence.of(near, deviations), axis=1))
        scores = softmax(logits) * known[:, None]
        similarity = None
        if self.nearest is not None:
            similarity = near.astype(np.float32)
            similarity[:, self.evidence.unseen] = 0.0
        return Prediction(scores.astype(np.float32), (1.0 - known).astype(np.float32), similarity)
