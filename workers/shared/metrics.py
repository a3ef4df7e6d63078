"""Figures of a classifier and of texts, with the level that chance reaches beside them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sacrebleu

from app.methods.tasks import Metric

Floats = npt.NDArray[np.floating[Any]]
BINS = 10
NOT_JUDGED = "not judged: no examples were held out"
"""What stands in the place of figures (as `evaluated_on`) where a model was shown every example there is."""
KEYS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("accuracy", "top5_accuracy", "exact_match"),
    "f1": ("f1", "macro_f1"),
    "macro_f1": ("macro_f1", "f1"),
    "per_class": ("per_class",),
    "confusion_matrix": ("confusion",),
    "calibration_error": ("calibration_error", "reliability"),
    "bleu": ("bleu", "bleu_signature"),
    "exact_match": ("exact_match",),
}
"""Metric, as a configuration names it -> its figures."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


def classification(
    truth: Sequence[str], probabilities: Floats, labels: Sequence[str], *, none: Floats | None = None
) -> dict[str, Any]:
    """Figures of `probabilities` float[n, len(labels)] against `truth`, labels of the n images.

    `none` float[n] is each image's probability of being none of them; an image counts as rejected where that
    is the largest. `chance` is the accuracy of guessing blindly, `commonest` that of always saying the
    commonest label. Truths outside `labels` count as mistakes. Raises ValueError where there is nothing to
    judge.
    """
    if not len(truth):
        raise ValueError("there are no examples to evaluate on")
    best = probabilities.argmax(axis=1)
    predicted = [labels[index] for index in best]
    named = sorted({*truth, *labels})
    confusion = count_confusions(truth, predicted, named)
    hits, support, chosen_as = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = f1_scores(confusion)
    macro_f1 = float(f1[support > 0].mean())
    confidence = probabilities.max(axis=1)
    right = np.array([guess == label for guess, label in zip(predicted, truth, strict=True)])
    order = np.argsort(-probabilities, axis=1)[:, :5]
    top5 = [label in {labels[i] for i in row} for label, row in zip(truth, order, strict=True)]
    known = [labels.index(label) if label in labels else -1 for label in truth]
    chosen = np.array([probabilities[row, i] if i >= 0 else 0.0 for row, i in enumerate(known)])
    result: dict[str, Any] = {
        "examples": len(truth),
        "accuracy": float(right.mean()),
        "f1": macro_f1,
        "macro_f1": macro_f1,
        "top5_accuracy": float(np.mean(top5)),
        "chance": 1 / len(labels),
        "commonest": Counter(truth).most_common(1)[0][1] / len(truth),
        "log_loss": float(-np.log(np.clip(chosen, 1e-12, None)).mean()),
        "calibration_error": calibration_error(confidence, right),
        "per_class": {
            label: {
                "precision": float(hits[i] / max(chosen_as[i], 1)),
                "recall": float(hits[i] / max(support[i], 1)),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(named)
        },
        "confusion": {"labels": named, "matrix": confusion.tolist()},
        "reliability": reliability(confidence, right),
    }
    if none is not None:
        result["rejected"] = float((none > confidence).mean())
    return result


def count_confusions(
    truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> npt.NDArray[np.int64]:
    """How often the label of each row was taken for that of each column: int64[len(labels), len(labels)].

    Raises KeyError for a text that is not among `labels`.
    """
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for right, said in zip(truth, predicted, strict=True):
        counts[place[right], place[said]] += 1
    return counts


def f1_scores(confusion: npt.NDArray[np.int64]) -> Floats:
    """Each label's F1, 2 TP / (2 TP + FP + FN), float64[labels]; 0 where it is neither the truth nor chosen.

    Written here because importing scikit-learn takes longer than judging a model does.
    """
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores: Floats = 2 * confusion.diagonal() / np.maximum(total, 1)
    return scores


def only(figures: dict[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    """`figures` without those of metrics that are not among `wanted` (all where it is None); what belongs to no metric
    stays: counts, and what chance reaches.
    """
    if wanted is None:
        return figures
    kept = {key for name, keys in KEYS.items() if name in wanted for key in keys}
    left_out = {key for keys in KEYS.values() for key in keys} - kept
    return {name: value for name, value in figures.items() if name not in left_out}


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal bins (Naeini et al. 2015; Guo et al. 2017, eq. 3)."""
    total = len(right)
    return float(
        sum(
            bucket["count"] / total * abs(bucket["accuracy"] - bucket["confidence"])
            for bucket in reliability(confidence, right)
        )
    )


def reliability(confidence: Floats, right: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the predictions in each of ten equal bins that holds any."""
    which = np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)
    found = []
    for index in range(BINS):
        inside = which == index
        if inside.any():
            found.append(
                {
                    "bin": index / BINS,
                    "count": int(inside.sum()),
                    "confidence": float(np.asarray(confidence)[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                }
            )
    return found


def texts(
    predicted: Sequence[str],
    references: Sequence[Sequence[str]],
    questions: Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Figures of written answers or captions; each may have several right ones.

    `exact_match` (which is `accuracy` too) compares after lower-casing and without articles and punctuation, `f1` is
    the mean over examples of the F1 of words against the nearest reference (both as SQuAD does; Rajpurkar et al. 2016,
    section 6.1); `bleu` is sacrebleu's corpus BLEU in 0-100 with its signature. `commonest` is what always
    giving the commonest reference would match, by question where there are questions. Raises ValueError where
    there is nothing to judge.
    """
    if not predicted:
        raise ValueError("there are no examples to evaluate on")
    plain = [{normalise(answer) for answer in several} for several in references]
    matched = [normalise(answer) in several for answer, several in zip(predicted, plain, strict=True)]
    most = max(len(several) for several in references)
    # sacrebleu takes None where an example has fewer references than others
    columns: Any = [[several[i] if i < len(several) else None for several in references] for i in range(most)]
    bleu = sacrebleu.BLEU(effective_order=True)
    score = bleu.corpus_score(list(predicted), columns)
    return {
        "examples": len(predicted),
        "exact_match": float(np.mean(matched)),
        "accuracy": float(np.mean(matched)),
        "f1": float(
            np.mean(
                [
                    max(_word_f1(said, right) for right in several)
                    for said, several in zip(predicted, plain, strict=True)
                ]
            )
        ),
        "bleu": float(score.score),
        "bleu_signature": str(bleu.get_signature()),
        "commonest": _commonest(plain, questions),
    }


def normalise(text: str) -> str:
    """Lower case, without articles, punctuation or doubled spaces."""
    lowered = unicodedata.normalize("NFKC", text).lower()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", lowered)).split())


def _word_f1(predicted: str, reference: str) -> float:
    """F1 of the words that a text has in common with a normalised reference; 1 where both are empty."""
    said, right = Counter(normalise(predicted).split()), Counter(reference.split())
    if not said or not right:
        return float(said == right)
    common = (said & right).total()
    return 2 * common / (said.total() + right.total())


def _commonest(references: Sequence[set[str]], questions: Sequence[str | None] | None) -> float:
    groups: defaultdict[str, list[set[str]]] = defaultdict(list)
    for index, several in enumerate(references):
        groups[(questions[index] or "") if questions else ""].append(several)
    hits = 0
    for members in groups.values():
        counts = Counter(answer for several in members for answer in several)
        hits += counts.most_common(1)[0][1] if counts else 0
    return hits / len(references)
