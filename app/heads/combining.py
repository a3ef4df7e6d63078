"""What kernel regression, Gaussian discriminants and texts are worth together, by supports that are left out in turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads import calibration, gda, noise, proker
from app.heads.gathering import Gathered
from app.heads.moments import Moments
from app.heads.novelty import ENOUGH
from app.heads.priors import ShotPrior
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Ints, softmax

WIDTHS = (0.5, 2.0)
RIDGES = (0.25, 4.0, 16.0)
"""Factors on the prior's kernel width and ridge that a collection may choose instead."""
CHOSEN_ON = 400
"""Supports on which they are chosen; the scales are then fitted on all."""
ROUNDS = 3
MIN_WEIGHT = 0.02
RARITY = 1.0
RARITY_PRIOR = 0.5
OUTER = 4
START = 0.2
ROBUST = True
RARE = True
BALANCE = True
FEW_GDA = 0.5


class Problem(NamedTuple):
    """Supports, their cosines with the texts, and what is assumed before looking at them."""

    gathered: Gathered
    supports: SupportSet
    label_ids: list[int]
    texts: Doubles
    """float64[n, C]"""
    prior: ShotPrior
    free: float
    """Text scale of texts that can be trusted."""
    variance: float


class Kernel(NamedTuple):
    """Kernel regression on the core of the supports."""

    width: float
    ridge: float
    solver: Doubles
    scale: float

    def coefficients(self, text_scales: Doubles, problem: Problem) -> Doubles:
        """float64[k, C]: logits an anchor at hand adds."""
        core = problem.gathered.core
        weighted = problem.texts[core] * (text_scales / self.scale)
        onehot = problem.gathered.onehot()[core]
        return self.scale * proker.coefficients(self.solver, onehot, weighted, self.ridge)


class Combined(NamedTuple):
    """A fit on supports, and held-out logits to calibrate it with."""

    names: tuple[str, ...]
    text_scale: float
    kernel: Kernel | None
    gda: gda.Gda | None
    gda_scale: float
    rarity_scale: float
    rows: Ints
    """int64[r]; none where nothing can be held out."""
    logits: Doubles
    """float64[r, p]: held-out logits of `rows` over the seen labels."""
    weights: Doubles
    """float64[r]: how much each row counts: labels weigh the same, and labels that look wrong less."""
    right: Doubles
    """float64[r]: the chance that each row's label is right."""


def combine(problem: Problem, names: tuple[str, ...]) -> Combined:
    """Fit the parts called `names` and what each is worth."""
    gathered = problem.gathered
    core = gathered.core
    seen = gathered.seen
    share = int(np.bincount(gathered.labels[core]).max())
    if len(names) > 1 and len(core) < len(gathered.labels) and share < ENOUGH:
        names = ("gda",)  # too few of each label in the core for a kernel
    judged = gathered.shots >= ENOUGH and len(seen) > 1
    inside = gathered.labels[core]
    siblings = np.bincount(inside, minlength=len(gathered.counts))[inside] > 1
    rows = core[siblings] if judged else core[:0]
    place = np.searchsorted(seen, gathered.labels)
    gram = gathered.vectors[core] @ gathered.vectors[core].T
    gram = gram.astype(np.float64)
    balance = gathered.balance if BALANCE else np.ones(len(gathered.labels))
    at = np.flatnonzero(siblings) if judged else core[:0]
    parameters = _kernel_parameters(problem, gram, balance, judged=judged) if "proker" in names else None
    prior = problem.prior
    half = 1.0 / len(names)
    if not judged and len(names) > 1:
        half = 1 - FEW_GDA
    image_scale = prior.image_scale
    start = [prior.text_scale]
    spread = [max(0.5 * problem.free, 1e-3)]
    if "proker" in names:
        start.append(half * image_scale)
        spread.append(0.5 * image_scale)
    if "gda" in names:
        start.append((half if judged or len(names) == 1 else FEW_GDA) * prior.gda_scale)
        spread.append(0.5 * max(prior.gda_scale, 1e-3))
    start.append(RARITY_PRIOR)
    spread.append(RARITY)
    rarity = -np.log(gathered.counts[seen])
    rarity = rarity - rarity.mean()
    weights = np.ones(len(gathered.labels))
    scales, right = np.array(start), np.ones(len(rows))
    for again in range(OUTER):
        parts = []
        solver, fit = None, None
        text = problem.texts[np.ix_(rows, seen)]
        if parameters is not None:
            solver = proker.inverse(gram, *parameters, (balance * weights)[core])
            left = proker.leave_one_out(solver, gathered.onehot()[core], problem.texts[core])
            text = left.text[np.ix_(at, seen)]
            parts.append(left.image[np.ix_(at, seen)])
        if "gda" in names:
            fit = _fit_gda(problem, gram, place, weights, rows)
            parts.append(fit.left_out)
        if not len(rows):
            break
        parts = np.stack([text, *parts, np.broadcast_to(rarity if RARE else 0 * rarity, text.shape)])
        scales, right = _weigh(parts, place[rows], np.array(start), np.array(spread), balance[rows])
        if again == OUTER - 1 or not ROBUST or right.min() > 0.5:
            break
        weights[rows] = np.maximum(right, MIN_WEIGHT)
    found = list(scales)
    text_scale = found.pop(0)
    kernel = None
    if parameters is not None:
        kernel = Kernel(parameters[0], parameters[1], solver, max(found.pop(0), 1e-6))
    gda_scale = found.pop(0) if fit is not None else 0.0
    return Combined(
        names,
        text_scale,
        kernel,
        None if fit is None else fit.gda,
        gda_scale,
        found.pop(0),
        rows,
        np.tensordot(scales, parts, axes=1) if len(rows) else np.zeros((0, len(seen))),
        balance[rows] * right,
        right,
    )


def _weigh(
    parts: Doubles, labels: Ints, start: Doubles, spread: Doubles, balance: Doubles
) -> tuple[Doubles, Doubles]:
    """Scales of the parts, and how right each row's label is: EM under a share of wrong labels."""
    scales, _ = calibration.fit_scales(parts, labels, start, spread, balance)
    rate = START
    right = np.ones(len(labels))
    for _ in range(ROUNDS if ROBUST else 0):
        right = noise.rightness(softmax(np.tensordot(scales, parts, axes=1)), labels, rate)
        rate = noise.updated_rate(right)
        if right.min() > 0.5:
            break
        scales, _ = calibration.fit_scales(parts, labels, start, spread, balance * right)
    return scales, right


def _typical_distance(gram: Doubles) -> float:
    """Median of 1 - cosine over pairs of supports, at most 500 of them; 1 where there is no pair."""
    step = max(1, len(gram) // 500)
    few = gram[::step, ::step]
    apart = 1.0 - few[~np.eye(len(few), dtype=bool)]
    return max(float(np.median(apart)), 1e-3) if len(apart) else 1.0


def _kernel_parameters(
    problem: Problem, gram: Doubles, balance: Doubles, *, judged: bool
) -> tuple[float, float]:
    """Width and ridge with the least held-out loss on some of the core."""
    gathered, prior = problem.gathered, problem.prior
    chosen = (prior.width / _typical_distance(gram), prior.ridge)
    if not judged:
        return chosen
    seen, core = gathered.seen, gathered.core
    labels = gathered.labels[core]
    starts = np.searchsorted(labels, np.arange(len(gathered.counts)))
    rank = np.arange(len(core)) - starts[labels]
    few = np.flatnonzero(rank < max(ENOUGH, CHOSEN_ON // len(seen)))
    siblings = np.bincount(labels[few], minlength=len(gathered.counts))[labels[few]] > 1
    rows = core[few]
    place = np.searchsorted(seen, labels[few])[siblings]
    small = gram[np.ix_(few, few)]
    onehot, texts = gathered.onehot()[np.ix_(rows, seen)], problem.texts[np.ix_(rows, seen)]
    start = np.array([prior.text_scale, prior.image_scale])
    spread = np.array([max(0.5 * problem.free, 1e-3), 0.5 * start[1]])

    def loss(width: float, ridge: float) -> float:
        left = proker.leave_one_out(proker.inverse(small, width, ridge, balance[rows]), onehot, texts)
        parts = np.stack([left.text[siblings], left.image[siblings]])
        return calibration.fit_scales(parts, place, start, spread, balance[rows][siblings])[1]

    best = loss(*chosen)
    width, ridge = chosen
    for candidates in (
        lambda: [(width, ridge * factor) for factor in RIDGES],
        lambda: [(width * factor, chosen[1]) for factor in WIDTHS],
    ):
        for candidate in candidates():
            tried = loss(*candidate)
            if tried < best:
                best, chosen = tried, candidate
    return chosen


def _fit_gda(problem: Problem, gram: Doubles, place: Ints, weights: Doubles, rows: Ints) -> gda.Fit:
    """Gaussians of all examples, the kept ones by their weights."""
    gathered, supports = problem.gathered, problem.supports
    examples = gda.Examples(gathered.vectors, place, weights, rows)
    if supports.moments is None and len(gathered.labels) < supports.dim and len(gram) == len(place):
        return gda.fit_few(examples, gram, variance=problem.variance)
    ids = np.asarray(problem.label_ids)[gathered.labels]
    if supports.moments is None:
        moments = Moments(supports.dim)
        moments.add(ids, gathered.vectors)
    else:
        moments = supports.moments
    less = np.flatnonzero(weights < 1.0)
    if len(less):
        moments = moments.copy()
        moments.discount(ids[less], gathered.vectors[less], 1.0 - weights[less])
    return gda.fit(
        examples, moments, [problem.label_ids[i] for i in gathered.seen], variance=problem.variance
    )
