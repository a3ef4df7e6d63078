"""When an image shows none of the labels: evidence from the nearest exemplar, and the threshold that follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.heads import calibration
from app.heads.gathering import SupportRows
from app.heads.head import Evidence, Head
from app.heads.priors import Priors, ShotPrior
from app.heads.types import Doubles, Ints, sigmoid, sigmoid_of, softmax

ENOUGH = 3
"""Examples a label from which on a collection calibrates itself."""
UNKNOWN_SHARE = 0.05
"""Share of images that show none of the labels which the shares for `none` are calibrated to. Small, so that scores can
be trusted where every image shows a label, which is the usual case; it is the threshold that rejects."""
_RARELY_UNKNOWN = float(np.log((1.0 - UNKNOWN_SHARE) / UNKNOWN_SHARE))
TWO_LABELS = 0.35
"""How much the one other label of two tells of images that show neither, beside background images: it may be anything
but what an unknown image is like. Measured, as is `_THIRD_LABEL`."""
_THIRD_LABEL = 0.25
"""Log-odds between two labels for images of a third, as a share of those for the two labels' own images."""
_BACKGROUND_SHARE = 0.75
"""The quantile of background images' best scores that the prior of a threshold depends on."""
_MAX_UNRELATED = 0.98
_FEW = 200
_LESS_ALIKE = 1.5
"""Log-odds that an image of a label loses against the label's own example."""
_ROWS = 1_000
_SPREAD = (2.0, 6.0)
"""How far offset and slope of the evidence may go from the prior: one standard deviation."""


def rows_with_siblings(gathered: SupportRows) -> Ints:
    """Rows whose label has another vector, at equal steps if there are many."""
    rows = np.flatnonzero(gathered.counts[gathered.labels] > 1)
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    return rows


def for_collection(priors: Priors, gathered: SupportRows) -> Priors:
    """The priors, with what the collection itself tells of an encoder that is not at hand.

    Encoders differ in how alike images are that have nothing to do with each other. Where no background images say it,
    examples of different labels do: their mean cosine stands for that of unrelated images.
    """
    counts = gathered.counts[gathered.seen].astype(np.float64)
    if priors.background is not None or len(counts) < 2:
        return priors
    sums = np.add.reduceat(
        gathered.vectors, np.cumsum(counts.astype(np.int64)) - counts.astype(np.int64), axis=0
    )
    total = sums.sum(axis=0, dtype=np.float64)
    apart = (float(total @ total) - float(np.sum(sums.astype(np.float64) ** 2))) / (
        counts.sum() ** 2 - float(np.sum(counts**2))
    )
    return replace(priors, unrelated=min(apart, _MAX_UNRELATED))


def likeness(gathered: SupportRows, priors: Priors) -> float:
    """Mean relative similarity of supports to the nearest exemplar of another label; 0 with a single label."""
    if len(gathered.seen) < 2:
        return 0.0
    rows = np.arange(len(gathered.labels))
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    _, other = gathered.left_out(rows)
    return float(priors.relative(other).mean())


def fit_evidence(gathered: SupportRows, priors: Priors, prior: ShotPrior) -> Evidence:
    """Log-odds of an image showing some label, from shipped priors, and from 3 shots on from the supports.

    Known: each support against the exemplars without itself. Unknown: background images, and each support
    against the other labels only, so that a collection of look-alikes learns to be strict. Both weigh the same in the
    fit; what comes of it is then moved to where `UNKNOWN_SHARE` of the images are unknown.
    """
    offset, slope = prior.evidence
    if gathered.shots >= ENOUGH:
        offset, slope = _refit(gathered, priors, offset, slope)
    text_offset, text_slope, text_count = priors.text_evidence
    return Evidence(
        unrelated=priors.unrelated,
        image_offset=offset + _RARELY_UNKNOWN,
        image_slope=slope,
        text_offset=text_offset + text_count * float(np.log(len(gathered.counts))) + _RARELY_UNKNOWN,
        text_slope=text_slope,
        seen=gathered.seen,
        unseen=gathered.unseen,
    )


def text_evidence(priors: Priors, labels: int) -> Evidence:
    """The same for so many labels without any example."""
    offset, slope, count_weight = priors.text_evidence
    return Evidence(
        unrelated=priors.unrelated,
        image_offset=0.0,
        image_slope=0.0,
        text_offset=offset + count_weight * float(np.log(labels)) + _RARELY_UNKNOWN,
        text_slope=slope,
        seen=np.zeros(0, np.int64),
        unseen=np.arange(labels),
    )


def _refit(gathered: SupportRows, priors: Priors, offset: float, slope: float) -> tuple[float, float]:
    rows = rows_with_siblings(gathered)
    own, other = gathered.left_out(rows)
    unknown = [(other, _trust_in_other_labels(len(gathered.seen)))]
    if priors.background is not None:
        near = priors.background @ gathered.vectors[gathered.exemplars].T
        unknown.append((near.max(axis=1).astype(np.float64), 1.0))
    unknown = [(cosines, weight) for cosines, weight in unknown if weight > 0.0]
    if not unknown:
        return offset, slope
    known = np.maximum(own, other)
    values = np.concatenate([known, *[cosines for cosines, _ in unknown]])
    share = len(known) / sum(weight for _, weight in unknown)
    weights = np.concatenate(
        [np.ones(len(known)), *[np.full(len(c), share * weight / len(c)) for c, weight in unknown]]
    )
    outcomes = np.r_[np.ones(len(known)), np.zeros(len(values) - len(known))]
    inputs = np.stack([np.ones(len(values)), priors.relative(values)], axis=1)
    prior = np.array([offset, slope])
    fitted = calibration.fit_logistic(inputs, outcomes, weights, prior, np.array(_SPREAD))
    return float(fitted[0]), max(float(fitted[1]), 0.0)


def fit_threshold(
    head: Head, gathered: SupportRows, priors: Priors, prior: ShotPrior, rows: Ints, logits: Doubles
) -> float:
    """The best score below which to reject, from held-out logits float64[r, p] of `rows` over the seen labels.

    Without rows, what is shipped says it. With them, unknown are background images and, as images of a label that
    nobody taught, supports whose label is taken away. With two labels one is left, whose softmax is one whatever the
    image: what the head would say of a third label is then guessed from what it says of the supports.
    """
    background, usual = np.zeros(0), prior.threshold()
    if priors.background is not None:
        background = head.predict(priors.background).scores.max(axis=1).astype(np.float64)
        usual = prior.threshold(background_odds(background))
    if len(gathered.seen) == 1 and gathered.shots >= ENOUGH:  # nothing to tell apart, but something to refuse
        rows = rows_with_siblings(gathered)
        logits = np.zeros((len(rows), 1))
    if not len(rows):
        return min(usual, _within_reach(head, gathered))
    own, other = gathered.left_out(rows)
    position = np.searchsorted(gathered.seen, gathered.labels[rows])

    def known_share(cosines: Doubles) -> Doubles:
        relative = priors.relative(cosines)
        return sigmoid(head.evidence.image_offset + head.evidence.image_slope * relative)

    scores = softmax(logits)
    right = (scores.argmax(axis=1) == position).astype(np.float64)
    accepted = scores.max(axis=1) * known_share(np.maximum(own, other))
    without = _THIRD_LABEL * logits
    if len(gathered.seen) > 2:
        without = logits.copy()
        without[np.arange(len(rows)), position] = -np.inf
    untaught = softmax(without).max(axis=1) * known_share(other)
    unknown = [(untaught, _trust_in_other_labels(len(gathered.seen))), (background, 1.0)]
    return calibration.best_threshold(accepted, unknown, usual, right=right)


def _within_reach(head: Head, gathered: SupportRows) -> float:
    """A threshold that images less typical than the examples themselves can reach, should the shipped one be wrong."""
    few = gathered.vectors[:: max(1, len(gathered.vectors) // _FEW)]
    scores = head.predict(few).scores.max(axis=1)
    return sigmoid_of(calibration.log_odds(float(np.median(scores))) - _LESS_ALIKE)


def background_odds(scores: Doubles) -> float:
    """What the prior of a threshold depends on, from the best scores float64[k] of background images."""
    return calibration.log_odds(float(np.quantile(scores, _BACKGROUND_SHARE)))


def _trust_in_other_labels(labels: int) -> float:
    """How much supports without their own label tell of images that show none, beside background images."""
    return 0.0 if labels < 2 else TWO_LABELS if labels == 2 else 1.0
