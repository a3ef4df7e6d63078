"""From labels, texts and supports to a fitted head: its parts, what each is worth, how calibrated."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from app.heads.combining import CombinedFit, Kernel, Problem, combine, rarity
from app.heads.conformal import fit_conformal
from app.heads.gathering import CORE, SupportRows, gather
from app.heads.head import Head, Scorer
from app.heads.noise import SUSPECT, Suspect
from app.heads.novelty import fit_evidence, fit_threshold, for_collection, likeness, text_evidence
from app.heads.priors import Priors, ShotPrior
from app.heads.supports import SupportSet, vector_key
from app.heads.types import Doubles, Floats, Ints, unit
from app.heads.zero_shot import TextRows, trust

LabelShares = Literal["equal", "examples"]
"""How often each label is expected: all alike, or as often as there are examples of it."""
PARTS = ("proker", "gda")


def zero_shot_head(labels: list[str], texts: Floats, priors: Priors) -> Head:
    """A head from texts float32[C, d] alone; logits are the temperature times cosines."""
    rows = TextRows(unit(texts), priors.background)
    classes = len(labels)
    weights, bias = rows.linear(np.full(classes, priors.temperature))
    return Head(
        labels=list(labels),
        kind="zero_shot",
        threshold=priors.text_threshold,
        anchors=np.zeros((0, rows.rows.shape[1]), np.float32),
        nearest=None,
        texts=rows,
        scorer=Scorer.of(weights, bias, 0.0, np.zeros((0, classes))),
        evidence=text_evidence(priors, classes),
    )


def fit_head(
    labels: list[str],
    texts: Floats | None,
    supports: SupportSet,
    label_ids: list[int],
    priors: Priors,
    *,
    kind: str | None = None,
    label_shares: LabelShares = "equal",
    counts: Ints | None = None,
) -> Head:
    """The head of a collection: `labels[i]` has the id `label_ids[i]` in `supports` and the text `texts[i]`.

    `texts` is float32[C, d] or None. Labels without vectors are told by their texts alone. Kernel regression and
    Gaussian discriminants are added up, each worth what held-out supports say; `kind`, one of `PARTS`, leaves the
    other out. `label_shares` says how often each label is to be expected; `counts` int64[C] are the examples that there
    are of each where `supports` hold only some. Neither the order of the labels nor that of the examples makes a
    difference. Raises ValueError when there is neither a text nor a vector to go by, or no
    label.
    """
    if not labels or len(labels) != len(label_ids):
        raise ValueError("a head needs labels, and an id for each")
    if not any(supports.count(label) for label in label_ids):
        if texts is None:
            raise ValueError("neither texts nor examples to tell labels by")
        return zero_shot_head(labels, texts, priors)
    shares = None
    if label_shares == "examples":
        shares = log_shares(np.array([*map(supports.count, label_ids)]) if counts is None else counts)
    order = sorted(range(len(labels)), key=lambda i: _identity(labels[i], texts, i, supports, label_ids[i]))
    ordered = _fit_ordered(
        [labels[i] for i in order],
        None if texts is None else texts[order],
        supports,
        [label_ids[i] for i in order],
        priors,
        PARTS if kind is None else (kind,),
        None if shares is None else shares[order],
    )
    return ordered.rearrange(np.argsort(order))


def _identity(
    label: str, texts: Floats | None, index: int, supports: SupportSet, label_id: int
) -> tuple[bytes, bytes, str, int]:
    """What a label is sorted by: its examples, its text, its name, so that the order it came in is forgotten."""
    text = b"" if texts is None else texts[index].tobytes()
    return supports.digest(label_id), text, label, label_id


def _fit_ordered(
    labels: list[str],
    texts: Floats | None,
    supports: SupportSet,
    label_ids: list[int],
    priors: Priors,
    parts: tuple[str, ...],
    shares: Doubles | None,
) -> Head:
    gathered = gather(supports, label_ids)
    priors = for_collection(priors, gathered)
    rows = None if texts is None else TextRows(unit(texts), priors.background)
    alike = likeness(gathered, priors)
    prior = priors.at(gathered.shots, alike, len(gathered.seen), len(gathered.exemplars))
    free, believed = prior.text_scale, 0.0
    if rows is not None:
        some = gathered.core[:: -(-len(gathered.core) // CORE)]
        position = np.searchsorted(gathered.seen, gathered.labels[some])
        believed = trust(rows.cosines(gathered.vectors[some])[:, gathered.seen], position, priors.temperature)
    prior = replace(prior, text_scale=prior.text_scale * believed)
    problem = Problem(gathered, supports, label_ids, rows, prior, prior.image_scale, free, priors.variance)
    combined = combine(problem, parts)
    text_scales = np.full(len(labels), combined.text_scale)
    text_scales[gathered.unseen] = free
    weights, bias = _linear(combined, gathered, supports.dim)
    if rows is not None:
        of_texts = rows.linear(text_scales)
        weights, bias = weights + of_texts[0], bias + of_texts[1]
    held_out = combined.logits
    if shares is not None:
        bias, held_out = bias + shares, held_out + shares[gathered.seen]
    kernel = combined.kernel
    anchors = gathered.anchors if kernel is not None else gathered.anchors[:0]
    anchors = np.concatenate([anchors, np.setdiff1d(gathered.exemplars, anchors)])
    columns = np.empty(len(gathered.labels), np.int64)
    columns[anchors] = np.arange(len(anchors))
    told = gathered.seen[held_out.argmax(axis=1)] if len(combined.rows) else combined.rows
    left_out, recalls = _recalls(told, gathered.labels[combined.rows], gathered)
    head = Head(
        labels=list(labels),
        kind="+".join(
            name for name, part in zip(PARTS, (kernel, combined.gda), strict=True) if part is not None
        ),
        threshold=prior.threshold(),
        anchors=gathered.vectors[anchors],
        nearest=gathered.nearest(columns[gathered.exemplars]),
        texts=rows,
        scorer=Scorer.of(weights, bias, *_kernel_part(kernel, text_scales, problem)),
        evidence=fit_evidence(gathered, priors, prior),
        suspects=_suspects(combined, gathered),
        counts=gathered.counts,
        left_out=left_out,
        recalls=recalls,
        confusions=_confusions(told, gathered.labels[combined.rows]),
    )
    return _calibrate(head, gathered, priors, prior, combined, held_out)


def _calibrate(
    head: Head,
    gathered: SupportRows,
    priors: Priors,
    prior: ShotPrior,
    combined: CombinedFit,
    held_out: Doubles,
) -> Head:
    """The head with its threshold and conformal scores.

    Suspects do not count for the threshold, since their labels would blame the head. They do for conformal scores:
    what looks suspect scores low, and sets that never saw the lowest scores would hold the truth too seldom.
    """
    rows, trusted = combined.rows, combined.right > SUSPECT
    return replace(
        head,
        threshold=fit_threshold(head, gathered, priors, prior, rows[trusted], held_out[trusted]),
        conformal=fit_conformal(held_out, gathered.labels[rows], gathered.counts),
    )


def _kernel_part(kernel: Kernel | None, text_scales: Doubles, problem: Problem) -> tuple[float, Doubles]:
    if kernel is None:
        return 0.0, np.zeros((0, len(text_scales)))
    return kernel.width, kernel.coefficients(text_scales, problem)


def _linear(combined: CombinedFit, gathered: SupportRows, dim: int) -> tuple[Doubles, Doubles]:
    """Discriminants as weights float64[d, C] and bias float64[C]; unseen labels get the mean of the others."""
    classes = len(gathered.counts)
    weights, bias = np.zeros((dim, classes)), np.zeros(classes)
    if combined.gda is not None:
        weights[:] = combined.gda.weights.mean(axis=1, keepdims=True)
        bias[:] = combined.gda.bias.mean()
        weights[:, gathered.seen], bias[gathered.seen] = combined.gda
    bias[gathered.seen] += combined.rarity_scale * rarity(gathered.counts[gathered.seen])
    return weights, bias


def _suspects(combined: CombinedFit, gathered: SupportRows) -> tuple[Suspect, ...]:
    found = []
    for at in np.argsort(combined.right, kind="stable"):
        if combined.right[at] > SUSPECT:
            break
        row = combined.rows[at]
        told = int(gathered.seen[combined.logits[at].argmax()])
        key = vector_key(gathered.vectors[row])
        found.append(Suspect(key, int(gathered.labels[row]), told, float(combined.right[at])))
    return tuple(found)


def _recalls(told: Ints, labels: Ints, gathered: SupportRows) -> tuple[Ints, Doubles]:
    """int64[C] and float64[C]: rows of each label that were left out, and the share told right, NaN where none was.

    `told` int64[r] is what the others tell of these rows, `labels` int64[r] their labels.
    """
    classes = len(gathered.counts)
    rows = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[told == labels], minlength=classes)
    return rows, np.where(rows > 0, right / np.maximum(rows, 1), np.nan)


def _confusions(told: Ints, labels: Ints) -> Ints:
    """int64[m, 3]: each pair of a label and another one that is told instead, and how often."""
    wrong = told != labels
    pairs, counts = np.unique(np.stack([labels[wrong], told[wrong]], axis=1), axis=0, return_counts=True)
    return np.concatenate([pairs, counts[:, None]], axis=1)


def log_shares(counts: Ints) -> Doubles:
    """float64[C]: logarithms of the labels' shares among int64[C] examples, one added to each (Laplace's rule)."""
    more = counts.astype(np.float64) + 1.0
    shares: Doubles = np.log(more / more.sum())
    return shares
