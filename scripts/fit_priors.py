"""Fits what an encoder's heads assume before any example is seen, and writes app/heads/shipped/.

Knows episodes drawn from image sets that neither the benchmark nor the tests show; docs/learning.md says which.

    python -m scripts.fit_priors [encoder ...]
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families import FAMILIES
from app.heads import Head, SupportSet, calibration, fit_head, gda, proker, zero_shot_head
from app.heads.gathering import gather
from app.heads.moments import Moments
from app.heads.novelty import likeness
from app.heads.priors import SHIPPED, Priors, ShotPrior
from app.heads.zero_shot import TextRows, trust
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Encoder
from app.inference.sources import CHECKPOINTS
from benchmarks import image_sets
from benchmarks.image_sets import ImageSet
from scripts.natural_classes import imagenet_like

SHOTS = (1, 2, 4, 8, 16)
WIDTHS = (0.5, 1.0)
RIDGES = (0.1, 0.3, 1.0)
EPISODES = 16
MAX_LABELS = 12
BACKGROUND = 220
PAD = -3.0


@dataclass(frozen=True)
class Episode:
    """Supports and queries of C labels, and images that show none of them."""

    supports: NDArray[np.float32]
    labels: NDArray[np.int64]
    queries: NDArray[np.float32]
    answers: NDArray[np.int64]
    texts: NDArray[np.float32]
    near: NDArray[np.float32]
    """Images of the set's other classes; none where the set has no others."""
    far: NDArray[np.float32]
    """Images of other sets."""


def image_sets_of(model: Encoder) -> list[ImageSet]:
    """What priors are fitted on."""
    others = image_sets.photos(model, image_sets.OTHERS, "others")
    sets = [others, image_sets.shapes(model, split="train"), image_sets.digits(model, half=0)]
    sets.append(image_sets.faces(model))
    named = FAMILIES.get(model.family).named_classes()
    if named is not None:
        # Twice, since natural photos are what people show.
        sets += [imagenet_like(others.vectors, *named)] * 2
    return sets


def draw(one: ImageSet, sets: list[ImageSet], shots: int, rng: np.random.Generator) -> Episode:
    """An episode of 2 to 12 labels."""
    total = len(one.classes)
    classes = rng.permutation(total)
    count = int(rng.integers(2, min(MAX_LABELS, max(total - 1, 2)) + 1))
    inside, outside = classes[:count], classes[count:]
    supports, queries, answers = [], [], []
    for position, label in enumerate(inside):
        rows = rng.permutation(np.flatnonzero(one.labels == label))
        supports.append(one.vectors[rows[:shots]])
        queries.append(one.vectors[rows[shots : shots + 6]])
        answers += [position] * len(queries[-1])
    near = np.flatnonzero(np.isin(one.labels, outside))
    foreign = [other for other in sets if other.name != one.name]
    far = np.concatenate([other.vectors[rng.integers(0, len(other.vectors), 12)] for other in foreign])
    return Episode(
        supports=np.concatenate(supports),
        labels=np.repeat(np.arange(count), shots),
        queries=np.concatenate(queries),
        answers=np.array(answers, np.int64),
        texts=one.texts[inside],
        near=one.vectors[rng.permutation(near)[:30]],
        far=far,
    )


def support_set(episode: Episode) -> SupportSet:
    supports = SupportSet(episode.supports.shape[1])
    supports.add(episode.labels, episode.supports)
    return supports


def kernel_parts(
    episode: Episode, draft: Priors, width: float, ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """float64[3, queries, MAX_LABELS]: what trusted text, unlike and alike examples add to the logits."""
    gathered = gather(support_set(episode), list(range(len(episode.texts))))
    rows = TextRows(episode.texts, draft.background)
    support_texts, texts = rows.cosines(gathered.vectors), rows.cosines(episode.queries)
    believed = trust(support_texts, gathered.labels, draft.temperature)
    wide = gathered.vectors.astype(np.float64)
    gram = wide @ wide.T
    apart = 1.0 - gram[~np.eye(len(gram), dtype=bool)]
    b = width / max(float(np.median(apart)), 1e-3)
    hat = (
        proker.kernel(episode.queries.astype(np.float64) @ wide.T, b) @ proker.inverse(gram, b, ridge) / ridge
    )
    image = hat @ gathered.onehot()
    alike = min(max(likeness(gathered, draft), 0.0), 1.0)
    parts = np.zeros((3, len(texts), MAX_LABELS))
    parts[1:, :, image.shape[1] :] = PAD
    parts[0, :, : image.shape[1]] = believed * (texts - hat @ support_texts)
    parts[1, :, : image.shape[1]] = image
    parts[1] *= 1.0 - alike
    parts[2, :, : image.shape[1]] = image
    parts[2] *= alike
    # Columns of labels that the episode lacks must never win, whatever the likeness.
    parts[1:, :, image.shape[1] :] = PAD / 2
    return parts, episode.answers


def fit_shots(episodes: list[Episode], draft: Priors, shots: int) -> ShotPrior:
    """Width, ridge and scales with the least cross-entropy over all queries."""
    best: tuple[float, float, float, NDArray[np.float64]] | None = None
    for width in WIDTHS:
        for ridge in RIDGES:
            found = [kernel_parts(one, draft, width, ridge) for one in episodes]
            parts = np.concatenate([one[0] for one in found], axis=1)
            answers = np.concatenate([one[1] for one in found])
            start = np.array([0.3 * draft.temperature, 15.0, 10.0])
            scales, loss = calibration.fit_scales(parts, answers, start, np.full(3, 100.0))
            if best is None or loss < best[0]:
                best = (loss, width, ridge, scales)
    if best is None:
        raise ValueError("no widths to choose from")
    loss, width, ridge, scales = best
    print(f"{shots:2d} shots: width {width}, ridge {ridge}, scales {np.round(scales, 2)}, loss {loss:.3f}")
    return ShotPrior(
        shots=shots,
        width=width,
        ridge=ridge,
        unlike_scale=float(scales[1]),
        alike_scale=float(scales[2]),
        # Names may tell more than those of these sets do, so their scale stays where leave-one-out can find it.
        text_scale=max(float(scales[0]), 0.2 * draft.temperature),
        gda_scale=0.0,
        threshold=0.4,
    )


def fit_gda_scale(episodes: list[Episode], draft: Priors) -> float:
    """Logits that a discriminant is worth."""
    parts, answers = [], []
    for one in episodes:
        moments = Moments(one.supports.shape[1])
        moments.add(one.labels, one.supports)
        groups = [one.supports[one.labels == label] for label in range(len(one.texts))]
        fitted = gda.fit(
            moments,
            list(range(len(one.texts))),
            fourth=gda.mean_fourth(groups),
            variance=draft.variance,
        )
        found = fitted.discriminants(one.queries)
        padded = np.full((1, len(found), MAX_LABELS), float(found.min()) - 1e3)
        padded[0, :, : found.shape[1]] = found
        parts.append(padded)
        answers.append(one.answers)
    scales, _ = calibration.fit_scales(
        np.concatenate(parts, axis=1), np.concatenate(answers), np.array([0.1]), np.array([10.0])
    )
    return float(scales[0])


def fit_evidence(episodes: list[Episode], draft: Priors) -> tuple[float, float, float, float]:
    """Logistic regression of an image showing some label, every episode weighing the same."""
    inputs, outcomes, weights = [], [], []
    for one in episodes:
        gathered = gather(support_set(one), list(range(len(one.texts))))
        exemplars = gathered.vectors[gathered.exemplars]
        alike = likeness(gathered, draft)
        for images, outcome, weight in (
            (one.queries, 1.0, 1.0),
            (one.near, 0.0, 0.5 if len(one.near) else 0.0),
            (one.far, 0.0, 0.5 if len(one.near) else 1.0),
        ):
            if len(images):
                relative = draft.relative((images @ exemplars.T).max(axis=1).astype(np.float64))
                constant = np.ones(len(images))
                inputs.append(
                    np.stack(
                        [constant, relative, constant * alike, constant * np.log(len(exemplars))], axis=1
                    )
                )
                outcomes.append(np.full(len(images), outcome))
                weights.append(np.full(len(images), weight / len(images)))
    fitted = calibration.fit_logistic(
        np.concatenate(inputs),
        np.concatenate(outcomes),
        100 * np.concatenate(weights),
        np.array([-4.0, 12.0, -4.0, 0.0]),
        np.full(4, 30.0),
    )
    return tuple(float(one) for one in fitted)  # type: ignore[return-value]


def fit_text_evidence(episodes: list[Episode], draft: Priors) -> tuple[float, float, float]:
    """The same from texts alone, on sets whose texts say something."""
    inputs, outcomes, weights = [], [], []
    for one in episodes:
        rows = TextRows(one.texts, draft.background)
        for images, outcome in ((one.queries, 1.0), (np.concatenate([one.near, one.far]), 0.0)):
            best = (rows.cosines(images) / rows.deviation).max(axis=1)
            constant = np.ones(len(images))
            inputs.append(np.stack([constant, best, constant * np.log(len(one.texts))], axis=1))
            outcomes.append(np.full(len(images), outcome))
            weights.append(np.full(len(images), 1.0 / len(images)))
    fitted = calibration.fit_logistic(
        np.concatenate(inputs),
        np.concatenate(outcomes),
        100 * np.concatenate(weights),
        np.array([-2.0, 1.0, 0.0]),
        np.full(3, 10.0),
    )
    return tuple(float(one) for one in fitted)  # type: ignore[return-value]


def fit_threshold(heads: list[tuple[Head, Episode]]) -> float:
    """Best balance of accepting right answers and rejecting images that show no label."""
    known, right, unknown = [], [], []
    for head, one in heads:
        scores = head.predict(one.queries).scores
        known.append(scores.max(axis=1))
        right.append(scores.argmax(axis=1) == one.answers)
        unknown.append(head.predict(np.concatenate([one.near, one.far])).scores.max(axis=1))
    accepted, correct, rejected = (
        np.concatenate(values).astype(np.float64) for values in (known, right, unknown)
    )
    return calibration.best_threshold(accepted, rejected, 0.4, strength=1.0, right=correct)


def fit(model: Encoder) -> None:
    """Fit and write the priors of one encoder."""
    sets = image_sets_of(model)
    rng = np.random.default_rng(0)
    background = np.concatenate(
        [one.vectors[rng.permutation(len(one.vectors))[: BACKGROUND // len(sets)]] for one in sets]
    )
    pairs = [a.vectors.mean(axis=0) @ b.vectors.mean(axis=0) for a in sets for b in sets if a.name != b.name]
    within = [
        np.mean([one.vectors[one.labels == c].var(axis=0).sum() for c in set(one.labels)]) for one in sets
    ]
    draft = Priors(
        name=model.name,
        temperature=model.temperature,
        shots=(ShotPrior(1, 0.5, 0.3, 15.0, 10.0, 0.3 * model.temperature, 0.1, 0.4),),
        unrelated=round(float(np.mean(pairs)), 4),
        image_evidence=(-4.0, 12.0, -4.0, 0.0),
        text_evidence=(-2.0, 1.0, 0.0),
        text_threshold=0.3,
        variance=float(np.mean(within)) / model.dim,
        background=background.astype(np.float16).astype(np.float32),
    )
    drawn = {n: [draw(one, sets, n, rng) for one in sets for _ in range(EPISODES)] for n in SHOTS}
    draft = replace(
        draft,
        image_evidence=fit_evidence([one for n in SHOTS for one in drawn[n]], draft),
        shots=tuple(
            replace(fit_shots(drawn[n], draft, n), gda_scale=fit_gda_scale(drawn[n][::2], draft))
            for n in SHOTS
        ),
    )
    telling = [one for one in drawn[1] if trust(*_ranked(one, draft), draft.temperature) > 0.2]
    draft = replace(draft, text_evidence=fit_text_evidence(telling or drawn[1], draft))
    shots = []
    for prior in draft.shots:
        heads = []
        for one in drawn[prior.shots]:
            names = [str(i) for i in range(len(one.texts))]
            ids = list(range(len(names)))
            heads.append((fit_head(names, one.texts, support_set(one), ids, draft), one))
        shots.append(replace(prior, threshold=fit_threshold(heads)))
    texts = [(zero_shot_head([""] * len(one.texts), one.texts, draft), one) for one in telling or drawn[1]]
    draft = replace(draft, shots=tuple(shots), text_threshold=fit_threshold(texts))
    write(draft, model)


def _ranked(one: Episode, draft: Priors) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return TextRows(one.texts, draft.background).cosines(one.supports), one.labels


def write(priors: Priors, model: Encoder) -> None:
    """Write JSON and vectors; text scales as fractions of the temperature, the variance for all dimensions."""
    content = {
        "fingerprint": model.fingerprint,
        "temperature": priors.temperature,
        "unrelated": priors.unrelated,
        "variance": round(priors.variance * model.dim, 4),
        "image_evidence": [round(one, 3) for one in priors.image_evidence],
        "text_evidence": [round(one, 3) for one in priors.text_evidence],
        "text_threshold": round(priors.text_threshold, 2),
        "shots": [
            {
                "shots": one.shots,
                "width": one.width,
                "ridge": one.ridge,
                "unlike_scale": round(one.unlike_scale, 2),
                "alike_scale": round(one.alike_scale, 2),
                "text_scale": round(one.text_scale / priors.temperature, 3),
                "gda_scale": round(one.gda_scale, 4),
                "threshold": round(one.threshold, 2),
            }
            for one in priors.shots
        ],
    }
    (SHIPPED / f"{model.name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(SHIPPED / f"{model.name}.npz", background=np.asarray(priors.background, np.float16))
    print(json.dumps(content, indent=2))


def own_encoders() -> list[str]:
    """This project's encoders that read texts."""
    names = [family.built_in for family in FAMILIES.of_kind("encoder") if family.built_in]
    for folder in sorted(CHECKPOINTS.iterdir()):
        with suppress(ModelUnavailableError):  # a vision-language model
            source = FAMILIES.resolve("encoder", folder.name)
            names += [source.name] * FAMILIES.get(source.family).reads_texts
    return names


if __name__ == "__main__":
    for name in sys.argv[1:] or own_encoders():
        fit(image_sets.encoder(name))
