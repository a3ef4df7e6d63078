"""Fits the head that a collection's number of examples asks for, and calibrates its scores.

Knows which of the methods wins when (docs/learning.md has the table); knows nothing of images or storage.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.recognition.heads.gda import fit_gaussian
from app.recognition.heads.head import Head, softmax
from app.recognition.heads.priors import Priors
from app.recognition.heads.proker import KernelHead, Spectrum, kernel
from app.recognition.heads.rejection import Rejection, Spread, separate
from app.recognition.heads.supports import SupportSet, exemplars

Matrix = NDArray[np.float32]
Wide = NDArray[np.float64]

CALIBRATED_FROM = 3
"""Shots from which leave-one-out replaces the encoder's priors."""
_MOST_CHOSEN_ON = 500
_SHARPNESS = (1.0, 3.0, 8.0)
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
_TEXT_SHARES = (0.0, 0.3, 0.6, 1.0)
_SCALES = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
_FALSE_ACCEPTS = 0.05
_FALSE_REJECTS = 0.05
_HIGHEST_THRESHOLD = 0.5


def fit_head(
    labels: list[str], texts: Matrix | None, supports: SupportSet, label_ids: list[int], priors: Priors
) -> Head:
    """A head for C labels, each with at least one support.

    `texts` float32[C, d] are the labels' unit text vectors; `label_ids` says which support belongs to which label.
    Up to `supports.MOST_KEPT` vectors the head is ProKeR, beyond that Gaussian discriminant analysis.
    """
    places = {label: index for index, label in enumerate(label_ids)}
    known = np.array([label in places for label in supports.label_ids.tolist()], bool)
    vectors = supports.vectors[known]
    owners = np.array([places[label] for label in supports.label_ids[known].tolist()], np.int64)
    if supports.is_large:
        return _large_head(labels, texts, supports, label_ids, vectors, owners, priors)
    return _small_head(labels, texts, vectors, owners, priors)


def zero_shot_head(labels: list[str], texts: Matrix, priors: Priors) -> Head:
    """Labels told apart by their texts alone: softmax(t f T). Without examples nothing is rejected by default."""
    same = Spread(priors.text_same_mean, priors.text_same_std)
    if len(priors.background):
        other = Spread.of((priors.background @ texts.T).max(axis=1))
    else:
        other = Spread(same.mean - 2 * same.std, same.std)

    def logits(features: Matrix) -> Wide:
        return (priors.temperature * (features @ texts.T)).astype(np.float64)

    def nearness(features: Matrix) -> Matrix:
        near: Matrix = features @ texts.T
        return near

    return Head(labels, "zero_shot", logits, separate(same, [other]), nearness)


def _small_head(
    labels: list[str], texts: Matrix | None, vectors: Matrix, owners: NDArray[np.int64], priors: Priors
) -> Head:
    count = len(labels)
    target = np.eye(count)[owners]
    shots = int(np.median(np.bincount(owners, minlength=count)))
    calibrated = shots >= CALIBRATED_FROM and count > 1
    if calibrated:
        sharpness, ridge, share, scale = _choose(texts, vectors, owners, count, priors)
    else:
        sharpness, ridge, scale = priors.sharpness, priors.ridge, priors.scale
        share = _text_share(texts, vectors, owners, priors)
    base = _base(texts, count, share, priors)
    residual = target - base(vectors)
    gram = (vectors @ vectors.T).astype(np.float64)
    regularised = kernel(gram, sharpness) + ridge * np.eye(len(vectors))
    weights = np.linalg.solve(regularised, residual)
    head = KernelHead(vectors, weights.astype(np.float32), sharpness)

    def logits(features: Matrix) -> Wide:
        return scale * (base(features) + head.correction(features))

    nearness, _ = _nearness(vectors, owners, count)
    rejection = _rejection(gram, owners, nearness, priors, calibrated=shots >= CALIBRATED_FROM)
    made = Head(labels, "proker", logits, rejection, nearness)
    return _with_threshold(made, vectors, owners, priors, own_scores=calibrated)


def _large_head(
    labels: list[str],
    texts: Matrix | None,
    supports: SupportSet,
    label_ids: list[int],
    sample: Matrix,
    owners: NDArray[np.int64],
    priors: Priors,
) -> Head:
    count = len(labels)
    held = np.arange(len(sample)) % 2 == 0
    alpha, share = _mix(texts, supports, label_ids, sample, owners, held, priors)
    gaussian = fit_gaussian(supports, label_ids)
    base = _log_base(texts, count, priors)

    def logits(features: Matrix) -> Wide:
        return alpha * gaussian.logits(features) + share * base(features)

    nearness, _ = _nearness(sample, owners, count)
    gram = (sample @ sample.T).astype(np.float64)
    made = Head(labels, "gda", logits, _rejection(gram, owners, nearness, priors, calibrated=True), nearness)
    return _with_threshold(made, sample, owners, priors, own_scores=True)


def _choose(
    texts: Matrix | None, vectors: Matrix, owners: NDArray[np.int64], count: int, priors: Priors
) -> tuple[float, float, float, float]:
    """Sharpness, ridge, text share and scale with the least leave-one-out log loss, on an even subset of supports."""
    order = np.argsort(_rank_in_label(owners), kind="stable")[: max(_MOST_CHOSEN_ON, 2 * count)]
    vectors, owners = vectors[order], owners[order]
    target = np.eye(count)[owners]
    text = _base(texts, count, 1.0, priors)(vectors)
    flat = np.full_like(text, 1.0 / count)
    gram = (vectors @ vectors.T).astype(np.float64)
    shares = _TEXT_SHARES if texts is not None else (0.0,)
    best, least = (priors.sharpness, priors.ridge, 0.0, priors.scale), np.inf
    rows = np.arange(len(owners))
    for sharpness in _SHARPNESS:
        spectrum = Spectrum.of(kernel(gram, sharpness))
        for ridge in _RIDGES:
            for share in shares:
                residual = target - (share * text + (1.0 - share) * flat)
                left_out = spectrum.left_out(ridge, residual, target)
                for scale in _SCALES:
                    chance = softmax(scale * left_out)[rows, owners]
                    loss = float(-np.log(np.maximum(chance, 1e-12)).mean())
                    if loss < least - 1e-6:
                        best, least = (sharpness, ridge, share, scale), loss
    return best


def _mix(
    texts: Matrix | None,
    supports: SupportSet,
    label_ids: list[int],
    sample: Matrix,
    owners: NDArray[np.int64],
    held: NDArray[np.bool_],
    priors: Priors,
) -> tuple[float, float]:
    """Weights of the Gaussian logits and of the text's, with the least log loss on supports left out of the fit."""
    rest = supports.copy()
    ids = np.array(label_ids, np.int64)[owners]
    counts = {label: supports.count(label) for label in label_ids}
    spare = held & np.array([counts[label] > 1 for label in ids.tolist()], bool)
    for label in label_ids:  # a label never loses its last supports
        of_label = np.flatnonzero(spare & (ids == label))
        spare[of_label[counts[label] - 1 :]] = False
    rest.remove(ids[spare], sample[spare])
    gaussian = fit_gaussian(rest, label_ids).logits(sample[spare])
    text = _log_base(texts, len(label_ids), priors)(sample[spare])
    truth = owners[spare]
    rows = np.arange(len(truth))
    best, least = (1.0, 0.0), np.inf
    for alpha in np.geomspace(0.01, 1.0, 13):
        for share in (0.0, 0.25, 0.5, 1.0) if texts is not None else (0.0,):
            chance = softmax(alpha * gaussian + share * text)[rows, truth]
            loss = float(-np.log(np.maximum(chance, 1e-12)).mean())
            if loss < least - 1e-6:
                best, least = (float(alpha), share), loss
    return best


def _base(texts: Matrix | None, count: int, share: float, priors: Priors) -> Callable[[Matrix], Wide]:
    """What the labels' texts alone say: share softmax(t f T) + (1 - share) / C."""

    def flat(features: Matrix) -> Wide:
        return np.full((len(features), count), 1.0 / count)

    if texts is None or share == 0.0:
        return flat
    known = texts

    def blended(features: Matrix) -> Wide:
        said = softmax((priors.temperature * (features @ known.T)).astype(np.float64))
        return share * said + (1.0 - share) / count

    return blended


def _log_base(texts: Matrix | None, count: int, priors: Priors) -> Callable[[Matrix], Wide]:
    said = _base(texts, count, 1.0, priors)
    return lambda features: np.log(np.maximum(said(features), 1e-6))


def _text_share(texts: Matrix | None, vectors: Matrix, owners: NDArray[np.int64], priors: Priors) -> float:
    """How far above chance the texts alone tell the supports: 0 for made-up names, near 1 for telling ones."""
    if texts is None or len(texts) < 2:
        return 0.0
    said = _base(texts, len(texts), 1.0, priors)(vectors)[np.arange(len(owners)), owners]
    chance = 1.0 / len(texts)
    return float(np.clip((said.mean() - chance) / (1.0 - chance), 0.0, 1.0))


def _nearness(
    vectors: Matrix, owners: NDArray[np.int64], count: int
) -> tuple[Callable[[Matrix], Matrix], Matrix]:
    """Cosine to the nearest exemplar of each label."""
    groups = [exemplars(vectors[owners == label]) for label in range(count)]
    stacked = np.ascontiguousarray(np.concatenate(groups))
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])

    def nearness(features: Matrix) -> Matrix:
        nearest: Matrix = np.maximum.reduceat(features @ stacked.T, starts, axis=1)
        return nearest

    return nearness, stacked


def _rejection(
    gram: Wide,
    owners: NDArray[np.int64],
    nearness: Callable[[Matrix], Matrix],
    priors: Priors,
    *,
    calibrated: bool,
) -> Rejection:
    """From leave-one-out cosines (same), cosines across labels and cosines to background images (others)."""
    same = Spread(priors.same_mean, priors.same_std)
    others = []
    if calibrated:
        apart = gram - 3.0 * np.eye(len(gram))
        same = Spread.of(apart.max(axis=1))
    if len(priors.background):
        others.append(Spread.of(nearness(priors.background).max(axis=1)))
    if len(np.unique(owners)) > 2:
        across = np.where(owners[:, None] == owners[None, :], -3.0, gram).max(axis=1)
        others.append(Spread.of(across))
    if not others:
        others.append(Spread(same.mean - 3 * same.std, 1.5 * same.std))
    return separate(same, others)


def _with_threshold(
    head: Head, vectors: Matrix, owners: NDArray[np.int64], priors: Priors, *, own_scores: bool
) -> Head:
    """The score that few background images reach; never so high that many of the head's own would miss it."""
    threshold = 1.0 / (len(head.labels) + 1)
    if len(priors.background):
        reached = head.predict(priors.background).scores.max(axis=1)
        threshold = max(threshold, float(np.quantile(reached, 1.0 - _FALSE_ACCEPTS)))
    highest = _HIGHEST_THRESHOLD
    if own_scores:
        own = head.predict(vectors).scores.max(axis=1)
        highest = min(highest, float(np.quantile(own, _FALSE_REJECTS)))
    return Head(head.labels, head.kind, head.logits, head.rejection, head.nearness, min(threshold, highest))


def _rank_in_label(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each support how many of its label come before it, so that sorting by it takes labels in turn."""
    seen: dict[int, int] = {}
    ranks = []
    for owner in owners.tolist():
        ranks.append(seen.get(owner, 0))
        seen[owner] = ranks[-1] + 1
    return np.array(ranks, np.int64)
