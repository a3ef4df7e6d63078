"""When an image shows none of the labels: evidence from the nearest exemplar, and the threshold that follows."""

from __future__ import annotations

import numpy as np

from app.heads import calibration
from app.heads.gathering import Gathered
from app.heads.head import Evidence, Head
from app.heads.priors import Priors
from app.heads.types import Doubles, Ints, sigmoid, softmax

ENOUGH = 3
"""Examples a label from which on a collection calibrates itself."""
_ROWS = 1_000
_SPREAD = (2.0, 6.0)
"""How far offset and slope of the evidence may go from the prior: one standard deviation."""


def rows_with_siblings(gathered: Gathered) -> Ints:
    """Rows whose label has another vector, at equal steps if there are many."""
    rows = np.flatnonzero(gathered.counts[gathered.labels] > 1)
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    return rows


def likeness(gathered: Gathered, priors: Priors) -> float:
    """Mean relative similarity of supports to the nearest exemplar of another label; 0 with a single label."""
    if len(gathered.seen) < 2:
        return 0.0
    rows = np.arange(len(gathered.labels))
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    _, other = gathered.left_out(rows)
    return float(priors.relative(other).mean())


def fit_evidence(gathered: Gathered, priors: Priors, alike: float) -> Evidence:
    """Log-odds of an image showing some label, from shipped priors, and from 3 shots on from the supports.

    Known: each support against the exemplars without itself. Unknown: background images, and each support
    against the other labels only, so that a collection of look-alikes learns to be strict.
    """
    offset, slope, between_weight, count_weight = priors.image_evidence
    offset += between_weight * alike
    offset += count_weight * float(np.log(len(gathered.exemplars)))
    if gathered.shots >= ENOUGH:
        offset, slope = _refit(gathered, priors, offset, slope)
    text_offset, text_slope, text_count = priors.text_evidence
    return Evidence(
        unrelated=priors.unrelated,
        image_offset=offset,
        image_slope=slope,
        text_offset=text_offset + text_count * float(np.log(len(gathered.counts))),
        text_slope=text_slope,
        seen=gathered.seen,
        unseen=gathered.unseen,
    )


def _refit(gathered: Gathered, priors: Priors, offset: float, slope: float) -> tuple[float, float]:
    rows = rows_with_siblings(gathered)
    own, other = gathered.left_out(rows)
    unknown = [other] if len(gathered.seen) > 1 else []
    if priors.background is not None:
        near = priors.background @ gathered.vectors[gathered.exemplars].T
        unknown.append(near.max(axis=1).astype(np.float64))
    if not unknown:
        return offset, slope
    known = np.maximum(own, other)
    values = np.concatenate([known, *unknown])
    share = len(known) / len(unknown)
    weights = np.concatenate([np.ones(len(known)), *[np.full(len(u), share / len(u)) for u in unknown]])
    outcomes = np.r_[np.ones(len(known)), np.zeros(len(values) - len(known))]
    inputs = np.stack([np.ones(len(values)), priors.relative(values)], axis=1)
    prior = np.array([offset, slope])
    fitted = calibration.fit_logistic(inputs, outcomes, weights, prior, np.array(_SPREAD))
    return float(fitted[0]), max(float(fitted[1]), 0.0)


def fit_threshold(
    head: Head, gathered: Gathered, priors: Priors, rows: Ints, logits: Doubles, prior: float
) -> float:
    """The best score below which to reject, from held-out logits float64[r, p] of `rows` over the seen labels."""
    own, other = gathered.left_out(rows)
    position = np.searchsorted(gathered.seen, gathered.labels[rows])
    index = np.arange(len(rows))

    def known_share(cosines: Doubles) -> Doubles:
        relative = priors.relative(cosines)
        return sigmoid(head.evidence.image_offset + head.evidence.image_slope * relative)

    scores = softmax(logits)
    right = (scores.argmax(axis=1) == position).astype(np.float64)
    accepted = scores.max(axis=1) * known_share(np.maximum(own, other))
    unknown = []
    if len(gathered.seen) > 1:
        without = logits.copy()
        without[index, position] = -np.inf
        unknown.append(softmax(without).max(axis=1) * known_share(other))
    if priors.background is not None:
        unknown.append(head.predict(priors.background).scores.max(axis=1).astype(np.float64))
    if not unknown:
        return prior
    size = max(len(u) for u in unknown)
    evened = np.concatenate([np.resize(u, size) for u in unknown])
    return calibration.best_threshold(accepted, evened, prior, right=right)
