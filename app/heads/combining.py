"""What kernel regression, Gaussian discriminants and texts are worth together, by leaving supports out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from app.heads import calibration, gda, noise, proker
from app.heads.gathering import CORE, SupportRows
from app.heads.moments import Moments
from app.heads.novelty import ENOUGH
from app.heads.priors import ShotPrior
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Floats, Ints, softmax
from app.heads.zero_shot import TextRows

WIDTHS = (0.5, 2.0)
RIDGES = (0.25, 4.0)
"""Factors on the prior's kernel width and ridge that a collection may choose instead."""
CHOSEN_ON = 300
"""Supports on which they are chosen; the scales are then fitted on all."""
ROUNDS = 4
"""How often at most the parts are fitted anew with what the last fit says of wrong labels."""
QUICK = 1_000
"""Supports past which they are fitted anew once at most, since each time takes as long as all the rest."""
RARITY = 0.5
"""Logits that a label gains a factor e of examples that it lacks, and how far that may go from there; as in logit
adjustment (Menon et al. 2021), but fitted: a classifier believes too little in what it saw seldom."""


@dataclass(frozen=True)
class Problem:
    """Supports, their cosines with the texts, and what is assumed before looking at them."""

    gathered: SupportRows
    supports: SupportSet
    label_ids: list[int]
    texts: TextRows | None
    prior: ShotPrior
    image_scale: float
    """Logits that a predicted one-hot entry of one is worth by itself."""
    free: float
    """Text scale of texts that can be trusted."""
    variance: float

    def texts_of(self, rows: Ints) -> Doubles:
        """float64[r, C]: cosines of some supports with the texts."""
        if len(self.gathered.labels) <= CORE:
            return self._texts[rows]
        return self._cosines(self.gathered.vectors[rows])  # all of them may be gigabytes

    @cached_property
    def _texts(self) -> Doubles:
        return self._cosines(self.gathered.vectors)

    def _cosines(self, vectors: Floats) -> Doubles:
        if self.texts is None:
            return np.zeros((len(vectors), len(self.label_ids)))
        return self.texts.cosines(vectors)


class Kernel(NamedTuple):
    """Kernel regression on the anchors."""

    width: float
    operator: Doubles
    """float64[k, n]: coefficients are this times what is to be predicted of the supports."""
    scale: float

    def coefficients(self, text_scales: Doubles, problem: Problem) -> Doubles:
        """float64[k, C]: logits that being near to each anchor adds; texts are predicted already."""
        found: Doubles = self.operator @ (
            self.scale * problem.gathered.onehot()
            - problem.texts_of(np.arange(len(problem.gathered.labels))) * text_scales
        )
        return found


class CombinedFit(NamedTuple):
    """A fit on supports, and held-out logits to calibrate it with."""

    text_scale: float
    kernel: Kernel | None
    gda: gda.Gda | None
    """Its scale multiplied in."""
    rarity_scale: float
    rows: Ints
    """int64[r]; none where nothing can be held out."""
    logits: Doubles
    """float64[r, p]: held-out logits of `rows` over the seen labels."""
    weights: Doubles
    """float64[r]: how much each row counts: labels weigh the same, and labels that look wrong less."""
    right: Doubles
    """float64[r]: the chance that each row's label is right."""


class _Parts(NamedTuple):
    """Fitted parts, and what they say of rows that are left out."""

    operator: Doubles | None
    """Of the kernel."""
    gda: gda.Fit | None
    logits: Doubles
    """float64[K, r, p]: texts, kernel and Gaussian as far as they are used, rarity."""


def combine(problem: Problem, names: Sequence[str]) -> CombinedFit:
    """Fit `proker` and `gda`, or one of them, and what each is worth.

    From `ENOUGH` supports a label the scales are fitted on logits of supports that are left out, and so is the chance
    that each support's label is right; where some look wrong the parts are fitted anew with these weighing less.
    """
    gathered = problem.gathered
    names = _useful(gathered, names)
    rows = _rows_to_leave_out(gathered)
    width, ridge = _kernel_parameters(problem) if "proker" in names else (0.0, 1.0)
    start, spread = _assume_scales(problem, names)
    place = np.searchsorted(gathered.seen, gathered.labels[rows])
    weights, right, scales = np.ones(len(gathered.labels)), np.ones(len(rows)), start
    parts = _fit_parts(problem, names, (width, ridge), weights, rows)
    if len(rows):
        balance = gathered.balance[rows]
        rounds = ROUNDS if len(gathered.labels) <= QUICK else 2
        for remaining in reversed(range(rounds)):
            scales, right = _weigh(parts.logits, place, start, spread, balance)
            if not remaining or right.min() > noise.SUSPECT:
                break
            weights[rows] = np.maximum(right, noise.MIN_WEIGHT)
            parts = _fit_parts(problem, names, (width, ridge), weights, rows)
    text_scale, *middle, rarity_scale = scales.tolist()
    kernel = None
    if parts.operator is not None:
        kernel = Kernel(width, parts.operator, middle[0])
    return CombinedFit(
        text_scale,
        kernel,
        None if parts.gda is None else parts.gda.gda.times(middle[-1]),
        rarity_scale,
        rows,
        np.tensordot(scales, parts.logits, axes=1),
        gathered.balance[rows] * right,
        right,
    )


def _useful(gathered: SupportRows, names: Sequence[str]) -> Sequence[str]:
    """Without Gaussians where no label has a scatter; without the kernel where very many labels have few anchors."""
    if len(names) > 1 and gathered.counts.max() < 2:
        return ("proker",)
    each = np.bincount(gathered.labels[gathered.anchors]).max()
    if len(names) > 1 and len(gathered.anchors) < len(gathered.labels) and each < ENOUGH:
        return ("gda",)
    return names


def _rows_to_leave_out(gathered: SupportRows) -> Ints:
    """Rows of the core whose label has another there; none where there are too few to learn from that."""
    labels = gathered.labels[gathered.core]
    if gathered.shots < ENOUGH or len(gathered.seen) < 2:
        return np.zeros(0, np.int64)
    return gathered.core[np.bincount(labels)[labels] > 1]


def _assume_scales(problem: Problem, names: Sequence[str]) -> tuple[Doubles, Doubles]:
    """float64[K] each: the scales before looking at held-out logits, the parts sharing, and how far they may go."""
    prior, share = problem.prior, 1.0 / len(names)
    own = {"proker": problem.image_scale, "gda": max(prior.gda_scale, 1e-3)}
    start = [prior.text_scale, *(share * own[name] for name in names), RARITY]
    spread = [max(0.5 * problem.free, 1e-3), *(0.5 * own[name] for name in names), RARITY]
    return np.array(start), np.array(spread)


def _weigh(
    parts: Doubles, labels: Ints, start: Doubles, spread: Doubles, balance: Doubles
) -> tuple[Doubles, Doubles]:
    """Scales float64[K] of the parts, and the chance float64[r] that each row's label is right.

    Expectation maximisation (Dempster et al. 1977) with a share of wrong labels as the third unknown; labels weigh
    the same by `balance` float64[r].
    """
    scales, _ = calibration.fit_scales(parts, labels, start, spread, balance)
    rate = noise.FIRST_RATE
    for _ in range(ROUNDS):
        right = noise.rightness(softmax(np.tensordot(scales, parts, axes=1)), labels, rate)
        rate = noise.update_rate(right)
        if right.min() > noise.SUSPECT:
            break
        scales, _ = calibration.fit_scales(parts, labels, start, spread, balance * right)
    return scales, right


def _fit_parts(
    problem: Problem, names: Sequence[str], parameters: tuple[float, float], weights: Doubles, rows: Ints
) -> _Parts:
    """The parts with each support weighing `weights` float64[n], and their logits with each of `rows` left out."""
    gathered = problem.gathered
    seen, everything = gathered.seen, len(gathered.anchors) == len(gathered.labels)
    gram = np.zeros((0, 0))
    if everything:
        gram = np.asarray(gathered.vectors @ gathered.vectors.T, np.float64)
    found = [problem.texts_of(rows)[:, seen]]
    operator, fit = None, None
    if "proker" in names:
        costs, onehot = gathered.balance * weights, gathered.onehot()
        texts = problem.texts_of(np.arange(len(gathered.labels)))
        if everything:
            solver = proker.inverse(gram, *parameters, costs)
            operator = solver / parameters[1]
            left = proker.leave_one_out(solver, onehot, texts)
            left = proker.LeaveOneOut(left.text[rows], left.image[rows])
        else:
            operator, left = proker.fit_on_anchors(
                gathered.vectors, gathered.anchors, parameters, costs, (onehot, texts), rows
            )
        found = [left.text[:, seen], left.image[:, seen]]
    if "gda" in names:
        fit = _fit_gda(problem, gram, weights, rows)
        found.append(fit.left_out)
    spread = np.broadcast_to(rarity(gathered.counts[seen]), found[0].shape)
    return _Parts(operator, fit, np.stack([*found, spread]))


def rarity(counts: Ints) -> Doubles:
    """float64[p]: minus the logarithm of each label's number of vectors, less the mean."""
    logarithms = np.log(counts)
    values: Doubles = logarithms.mean() - logarithms
    return values


def _fit_gda(problem: Problem, gram: Doubles, weights: Doubles, rows: Ints) -> gda.Fit:
    """Gaussians of all examples, the kept ones by their weights."""
    gathered, supports = problem.gathered, problem.supports
    place = np.searchsorted(gathered.seen, gathered.labels)
    examples = gda.Examples(gathered.vectors, place, weights, rows)
    if supports.moments is None and 0 < len(gram) < supports.dim:
        return gda.fit_few(examples, gram, variance=problem.variance)
    ids = np.asarray(problem.label_ids)[gathered.labels]
    moments = supports.moments
    if moments is None:
        moments = Moments(supports.dim)
        moments.add(ids, gathered.vectors)
    less = np.flatnonzero(weights < 1.0)
    if len(less):
        moments = moments.copy()
        moments.discount(ids[less], gathered.vectors[less], 1.0 - weights[less])
    return gda.fit(
        examples, moments, [problem.label_ids[i] for i in gathered.seen], variance=problem.variance
    )


def _kernel_parameters(problem: Problem) -> tuple[float, float]:
    """The prior's width and ridge, or others with less held-out loss on the first few supports of each label."""
    gathered, prior = problem.gathered, problem.prior
    seen = gathered.seen
    rows = gathered.first(max(ENOUGH, CHOSEN_ON // len(seen)))
    vectors = gathered.vectors[rows].astype(np.float64)
    gram = vectors @ vectors.T
    chosen = (prior.width / _typical_distance(gram), prior.ridge)
    siblings = np.isin(rows, _rows_to_leave_out(gathered))
    if not siblings.any():
        return chosen
    place = np.searchsorted(seen, gathered.labels[rows])[siblings]
    onehot, texts = gathered.onehot()[np.ix_(rows, seen)], problem.texts_of(rows)[:, seen]
    balance = gathered.balance[rows]
    start = np.array([prior.text_scale, problem.image_scale])
    spread = np.array([max(0.5 * problem.free, 1e-3), 0.5 * problem.image_scale])

    def loss(width: float, ridge: float) -> float:
        left = proker.leave_one_out(proker.inverse(gram, width, ridge, balance), onehot, texts)
        parts = np.stack([left.text[siblings], left.image[siblings]])
        return calibration.fit_scales(parts, place, start, spread, balance[siblings])[1]

    best = loss(*chosen)
    for widths, ridges in (((1.0,), RIDGES), (WIDTHS, (1.0,))):
        base = chosen
        for candidate in [(base[0] * width, base[1] * ridge) for width in widths for ridge in ridges]:
            tried = loss(*candidate)
            if tried < best:
                best, chosen = tried, candidate
    return chosen


def _typical_distance(gram: Doubles) -> float:
    """Median of 1 - cosine over pairs of supports, at most 500 of them; 1 where there is no pair."""
    step = -(-len(gram) // 500)
    few = gram[::step, ::step]
    apart = 1.0 - few[~np.eye(len(few), dtype=bool)]
    return max(float(np.median(apart)), 1e-3) if len(apart) else 1.0
