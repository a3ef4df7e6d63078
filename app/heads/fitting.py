"""From labels, texts and supports to a fitted head: which kind, with which parameters, how calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from app.heads import calibration, gda, proker
from app.heads.gathering import Gathered, gather
from app.heads.head import Evidence, GaussianScorer, Head, KernelScorer, Scorer, TextScorer
from app.heads.moments import Moments
from app.heads.novelty import ENOUGH, fit_evidence, fit_threshold, likeness, rows_with_siblings
from app.heads.priors import Priors, ShotPrior
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Floats, Ints, unit
from app.heads.zero_shot import TextRows, trust

WIDTHS = (0.5, 2.0)
RIDGES = (0.25, 4.0)
"""Factors on the prior's kernel width and ridge that a collection may choose instead."""
CHOSEN_ON = 400
"""Supports on which they are chosen; the scales are then fitted on all."""
FOLDS = 3


class _Fitted(NamedTuple):
    """What tells labels apart, and held-out logits to calibrate it with."""

    scorer: Scorer
    text_scale: float
    rows: Ints
    logits: Doubles
    """float64[r, p]: held-out logits of `rows` over the seen labels; no rows where nothing can be held out."""
    loss: float
    """Cross-entropy of a held-out row, with what keeps the scales near the prior; 0 where none is held out."""


def zero_shot_head(labels: list[str], texts: Floats, priors: Priors) -> Head:
    """A head from texts float32[C, d] alone; logits are the temperature times cosines."""
    rows = TextRows(unit(texts), priors.background)
    classes = len(labels)
    offset, slope, count_weight = priors.text_evidence
    evidence = Evidence(
        unrelated=priors.unrelated,
        image_offset=0.0,
        image_slope=0.0,
        text_offset=offset + count_weight * float(np.log(classes)),
        text_slope=slope,
        seen=np.zeros(0, np.int64),
        unseen=np.arange(classes),
    )
    return Head(
        labels=list(labels),
        kind="zero_shot",
        threshold=priors.text_threshold,
        anchors=np.zeros((0, rows.rows.shape[1]), np.float32),
        nearest=None,
        texts=rows,
        text_scales=np.full(classes, priors.temperature),
        scorer=TextScorer(),
        evidence=evidence,
    )


def fit_head(
    labels: list[str],
    texts: Floats | None,
    supports: SupportSet,
    label_ids: list[int],
    priors: Priors,
    *,
    kind: str | None = None,
) -> Head:
    """The head of a collection: `labels[i]` has the id `label_ids[i]` in `supports` and the text `texts[i]`.

    `texts` is float32[C, d] or None. Labels without vectors are told by their texts alone. Past `EXACT` vectors
    the kind is `gda`; from `ENOUGH` a label on it is what tells held-out supports apart better; below, `proker`.
    `kind` forces either. Raises ValueError when there is neither a text nor a vector to go by, or no label.
    """
    if not labels or len(labels) != len(label_ids):
        raise ValueError("a head needs labels, and an id for each")
    gathered = gather(supports, label_ids)
    if not len(gathered.seen):
        if texts is None:
            raise ValueError("neither texts nor examples to tell labels by")
        return zero_shot_head(labels, texts, priors)
    rows = None if texts is None else TextRows(unit(texts), priors.background)
    cosines = np.zeros((len(gathered.labels), len(labels)))
    if rows is not None:
        cosines = rows.cosines(gathered.vectors)
    prior = priors.at(gathered.shots)
    believed = 0.0
    if rows is not None:
        position = np.searchsorted(gathered.seen, gathered.labels)
        believed = trust(cosines[:, gathered.seen], position, priors.temperature)
    prior = replace(prior, text_scale=prior.text_scale * believed)
    free = priors.at(gathered.shots).text_scale
    alike = likeness(gathered, priors)
    tried: dict[str, _Fitted] = {}
    if kind == "proker" or (kind is None and supports.moments is None):
        tried["proker"] = _fit_proker(gathered, cosines, prior, prior.image_scale(alike), free)
    if kind == "gda" or (kind is None and _gda_may_win(gathered, supports)):
        tried["gda"] = _fit_gda(gathered, supports, label_ids, cosines, prior, free, priors.variance)
    kind = min(tried, key=lambda name: tried[name].loss)
    fitted = tried[kind]
    scales = np.full(len(labels), fitted.text_scale)
    scales[gathered.unseen] = free
    among_exemplars = kind == "gda"
    head = Head(
        labels=list(labels),
        kind=kind,
        threshold=prior.threshold,
        anchors=gathered.vectors[gathered.exemplars] if among_exemplars else gathered.vectors,
        nearest=gathered.nearest(among_exemplars=among_exemplars),
        texts=rows,
        text_scales=scales,
        scorer=fitted.scorer,
        evidence=fit_evidence(gathered, priors, alike),
    )
    if len(fitted.rows) and gathered.shots >= ENOUGH:
        threshold = fit_threshold(head, gathered, priors, fitted.rows, fitted.logits, prior.threshold)
        head = replace(head, threshold=threshold)
    return head


def _gda_may_win(gathered: Gathered, supports: SupportSet) -> bool:
    return supports.moments is not None or (gathered.shots >= ENOUGH and len(gathered.seen) > 1)


def _spread(prior: Doubles, free: float) -> Doubles:
    """How far the scales of text and image may go from the prior."""
    return np.array([max(0.5 * free, 1e-3), 0.5 * max(prior[1], 1e-3)])


def _few(gathered: Gathered) -> Ints:
    """Enough supports to choose kernel width and ridge on: the first so many of each label."""
    most = max(ENOUGH, CHOSEN_ON // len(gathered.seen))
    starts = np.cumsum(gathered.counts) - gathered.counts
    rank = np.arange(len(gathered.labels)) - starts[gathered.labels]
    return np.flatnonzero(rank < most)


def _typical_distance(gram: Doubles) -> float:
    """Median of 1 - cosine over pairs of supports, at most 500 of them; 1 where there is no pair."""
    few = gram[:: max(1, len(gram) // 500)]
    few = few[:, :: max(1, len(gram) // 500)]
    apart = 1.0 - few[~np.eye(len(few), dtype=bool)]
    return max(float(np.median(apart)), 1e-3) if len(apart) else 1.0


def _fit_proker(
    gathered: Gathered, cosines: Doubles, prior: ShotPrior, image_scale: float, free: float
) -> _Fitted:
    vectors = gathered.vectors.astype(np.float64)
    gram = vectors @ vectors.T
    onehot = gathered.onehot()
    seen = gathered.seen
    rows = rows_with_siblings(gathered)
    start = np.array([prior.text_scale, image_scale])
    width = prior.width / _typical_distance(gram)
    chosen, scales, logits = (width, prior.ridge), start, np.zeros((0, len(seen)))
    solver, loss = None, 0.0
    if gathered.shots >= ENOUGH and len(seen) > 1:
        position = np.searchsorted(seen, gathered.labels)

        def attempt(b: float, ridge: float, among: Ints) -> tuple[float, Doubles, Doubles, Doubles]:
            solved = proker.inverse(gram[np.ix_(among, among)], b, ridge)
            left = proker.leave_one_out(solved, onehot[np.ix_(among, seen)], cosines[np.ix_(among, seen)])
            judged = np.flatnonzero(np.isin(among, rows))
            parts = np.stack([left.text[judged], left.image[judged]])
            found, loss = calibration.fit_scales(parts, position[among[judged]], start, _spread(start, free))
            return loss, found, np.tensordot(found, parts, axes=1), solved

        few = _few(gathered)
        best = attempt(*chosen, few)[0]
        for candidate in [(width, prior.ridge * factor) for factor in RIDGES]:
            tried = attempt(*candidate, few)[0]
            if tried < best:
                best, chosen = tried, candidate
        for candidate in [(width * factor, chosen[1]) for factor in WIDTHS]:
            tried = attempt(*candidate, few)[0]
            if tried < best:
                best, chosen = tried, candidate
        loss, scales, logits, solver = attempt(*chosen, np.arange(len(gram)))
    else:
        rows = rows[:0]
    if solver is None:
        solver = proker.inverse(gram, *chosen)
    text_scale, scale = float(scales[0]), max(float(scales[1]), 1e-6)
    by_label = np.full(len(gathered.counts), text_scale)
    by_label[gathered.unseen] = free
    weighted = cosines * (by_label / scale)
    coefficients = proker.coefficients(solver, onehot, weighted, chosen[1])
    scorer = KernelScorer(chosen[0], scale, coefficients.astype(np.float32))
    return _Fitted(scorer, text_scale, rows, logits, loss)


def _fit_gda(
    gathered: Gathered,
    supports: SupportSet,
    label_ids: list[int],
    cosines: Doubles,
    prior: ShotPrior,
    free: float,
    variance: float,
) -> _Fitted:
    seen = gathered.seen
    places = np.searchsorted(seen, gathered.labels)
    if supports.moments is None and len(gathered.labels) < supports.dim:
        fit = _few_fit(gathered, places, variance)
    else:
        fit = _moment_fit(gathered, supports, label_ids, variance)
    start = np.array([prior.text_scale, prior.gda_scale])
    scales, logits, loss = start, np.zeros((0, len(seen))), 0.0
    rows = rows_with_siblings(gathered)
    if gathered.shots >= ENOUGH and len(seen) > 1:
        held = np.empty((len(rows), len(seen)))
        for fold in range(FOLDS):
            inside = np.arange(len(rows)) % FOLDS == fold
            held[inside] = fit(rows[inside]).discriminants(gathered.vectors[rows[inside]])
        parts = np.stack([cosines[np.ix_(rows, seen)], held])
        scales, loss = calibration.fit_scales(parts, places[rows], start, _spread(start, free))
        logits = np.tensordot(scales, parts, axes=1)
    else:
        rows = rows[:0]
    scorer = GaussianScorer(fit(rows[:0]), float(scales[1]), seen, len(label_ids))
    return _Fitted(scorer, float(scales[0]), rows, logits, loss)


def _few_fit(gathered: Gathered, places: Ints, variance: float) -> Callable[[Ints], gda.Gda]:
    """Fits from fewer vectors than dimensions, less some rows of `gathered`."""

    def fit(out: Ints) -> gda.Gda:
        rest = np.setdiff1d(np.arange(len(places)), out)
        return gda.fit_few(gathered.vectors[rest], places[rest], len(gathered.seen), variance=variance)

    return fit


def _moment_fit(
    gathered: Gathered, supports: SupportSet, label_ids: list[int], variance: float
) -> Callable[[Ints], gda.Gda]:
    """Fits from moments, less some rows of `gathered`."""
    ids = np.asarray(label_ids)[gathered.labels]
    seen = [label_ids[i] for i in gathered.seen]
    fourth = gda.mean_fourth([gathered.vectors[gathered.labels == i] for i in gathered.seen])

    def fit(out: Ints) -> gda.Gda:
        moments = supports.moments
        if moments is None:
            moments = Moments(supports.dim)
            moments.add(ids, gathered.vectors)
        if len(out):
            moments = moments.copy()
            moments.remove(ids[out], gathered.vectors[out])
        return gda.fit(moments, seen, fourth=fourth, variance=variance)

    return fit
