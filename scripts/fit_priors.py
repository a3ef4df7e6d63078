"""Fits what an encoder's heads assume before any example is seen, and writes app/heads/shipped/.

Episodes are drawn from image sets that neither the benchmark nor the tests show; docs/learning.md says which.

    python -m scripts.fit_priors [encoder ...]
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families import FAMILIES
from app.heads import calibration, gda, proker, zero_shot_head
from app.heads.novelty import background_odds
from app.heads.priors import GENERIC, SHIPPED, Coefficients, Priors, ShotRow
from app.heads.types import Doubles
from app.heads.zero_shot import TextRows, trust
from app.inference.errors import ModelUnavailableError
from app.inference.sources import CHECKPOINTS
from benchmarks import image_sets
from scripts.episodes import Episode, draw_all
from scripts.prior_curves import (
    LOG_ODDS,
    LOG_SCALES,
    cross_entropies,
    evidence_of,
    fit_coefficients,
    rejection_losses,
)
from scripts.prior_sources import DrawnEpisodes, Source, source_of

SHOTS = (1, 2, 4, 8, 16)
WIDTHS = (0.5, 1.0)
RIDGES = (0.1, 0.3, 1.0)
TEXT_SHARES = (0.4, 0.2, 0.8)
"""Of the temperature; never nothing, since other names may tell more than those of these sets do."""
EPISODES = 9
"""Of each image set, for each number of shots."""
EARLIER = ("lite-1280",)
FEW = 3
"""Examples a label from which on scales are fitted to each collection, so that less rides on the shipped ones."""


def image_parts(episode: Episode, draft: Priors, width: float, ridge: float) -> tuple[Doubles, Doubles]:
    """What examples and trusted texts add to the queries' logits, for scales of one: float64[m, C] each."""
    gathered = episode.gathered
    rows = TextRows(episode.texts, draft.background)
    support_texts, texts = rows.cosines(gathered.vectors), rows.cosines(episode.queries)
    wide = gathered.vectors.astype(np.float64)
    gram = wide @ wide.T
    apart = 1.0 - gram[~np.eye(len(gram), dtype=bool)]
    b = width / max(float(np.median(apart)), 1e-3)
    near = proker.kernel(episode.queries.astype(np.float64) @ wide.T, b)
    hat = near @ proker.inverse(gram, b, ridge) / ridge
    believed = trust(support_texts, gathered.labels, draft.temperature)
    return hat @ gathered.onehot(), believed * (texts - hat @ support_texts)


def discriminants(episode: Episode, draft: Priors) -> Doubles:
    """What a Gaussian says of the queries, for a scale of one: float64[m, C]."""
    gathered = episode.gathered
    wide = gathered.vectors.astype(np.float64)
    examples = gda.Examples(gathered.vectors, gathered.labels, np.ones(len(wide)), np.zeros(0, np.int64))
    found = gda.fit_few(examples, wide @ wide.T, variance=draft.variance).gda
    return found.discriminants(episode.queries)


def fit_row(drawn: list[DrawnEpisodes], shots: int) -> ShotRow:
    """Width, ridge and scales with the least cross-entropy over all queries, and evidence that they show a label."""
    traits = np.concatenate([part.traits for part in drawn])
    pairs = [(episode, part.draft) for part in drawn for episode in part.episodes]
    found: dict[tuple[float, float, float], Doubles] = {}

    def best() -> tuple[float, float, float]:
        return min(found, key=lambda at: float(found[at].min(axis=1).mean()))

    def attempt(width: float, ridge: float, shares: tuple[float, ...]) -> None:
        parts = [image_parts(episode, draft, width, ridge) for episode, draft in pairs]
        for share in shares:
            found[width, ridge, share] = np.array(
                [
                    cross_entropies(image, share * draft.temperature * text, episode.answers)
                    for (image, text), (episode, draft) in zip(parts, pairs, strict=True)
                ]
            )

    for width in WIDTHS:
        for ridge in RIDGES:
            attempt(width, ridge, TEXT_SHARES[:1])
    attempt(*best()[:2], TEXT_SHARES[1:])
    width, ridge, share = best()
    fitting = [pair for pair in pairs if len(pair[0].labels) < pair[0].supports.shape[1]]
    of_gda = [
        cross_entropies(discriminants(episode, draft), np.zeros(()), episode.answers)
        for episode, draft in fitting
    ]
    slim = np.array([episode.traits(draft) for episode, draft in fitting])
    mean = np.array([-4.0, 12.0, -4.0, 0.0])
    # the median, so that an encoder that cannot tell strangers blurs none that can
    evidence = np.median([evidence_of(part.episodes, part.draft, mean) for part in drawn], axis=0)
    return ShotRow(
        shots=shots,
        width=width,
        ridge=ridge,
        image_scale=_three(fit_coefficients(traits, found[width, ridge, share], LOG_SCALES)),
        text_scale=share * drawn[0].draft.temperature,
        gda_scale=_three(fit_coefficients(slim, np.array(of_gda), LOG_SCALES)),
        evidence=tuple(np.round(evidence, 3).tolist()),
        threshold=(0.0, 0.0, 0.0, 0.0),
    )


def _three(values: tuple[float, ...]) -> Coefficients:
    first, second, third = values
    return first, second, third


def correct(row: ShotRow, drawn: list[DrawnEpisodes]) -> ShotRow:
    """The row with scales as far from those fitted to each part alone as the parts together want them."""
    steps = np.linspace(-1.5, 1.5, 31)
    losses = []
    for part in drawn:
        for episode, priors in part.blind(row):
            found = episode.head(priors).predict(episode.queries).scores.astype(np.float64)
            logits = np.log(np.maximum(found, 1e-30))
            losses.append(cross_entropies(logits, np.zeros(()), episode.answers, steps))
    factor = fit_coefficients(np.concatenate([part.traits for part in drawn]), np.array(losses), steps)

    def move(scale: Coefficients) -> Coefficients:
        return _three(tuple(round(a + b, 3) for a, b in zip(scale, factor, strict=True)))

    return replace(row, image_scale=move(row.image_scale), gda_scale=move(row.gda_scale))


def fit_threshold(row: ShotRow, drawn: list[DrawnEpisodes]) -> ShotRow:
    """The row with the threshold that balances best what is right and accepted and what is unknown and refused.

    Where there are background images, what the head says of them takes the place of how alike the labels are.
    """
    losses, traits = [], []
    seen_background = True
    for part in drawn:
        for episode, priors in part.blind(row):
            head = episode.head(priors)
            losses.append(rejection_losses(head, episode))
            constant, third, labels = episode.traits(priors)
            if priors.background is None:
                seen_background = False
            else:
                scores = head.predict(priors.background).scores.max(axis=1)
                third = background_odds(scores.astype(np.float64))
            traits.append((constant, labels, third))
    offset, of_labels, of_third = fit_coefficients(np.array(traits), np.array(losses), LOG_ODDS)
    if seen_background:
        return replace(row, threshold=(offset, 0.0, of_labels, of_third))
    return replace(row, threshold=(offset, of_third, of_labels, 0.0))


def fit_text(drawn: DrawnEpisodes) -> Priors:
    """The draft with evidence and threshold from texts alone, on sets whose texts say something."""
    draft = drawn.draft
    telling = [episode for episode in drawn.episodes if _text_trust(episode, draft) > 0.2] or drawn.episodes
    inputs, outcomes, weights = [], [], []
    for episode in telling:
        rows = TextRows(episode.texts, draft.background)
        for images, outcome in ((episode.queries, 1.0), (np.concatenate(episode.unknown), 0.0)):
            best = (rows.cosines(images) / rows.deviation).max(axis=1)
            constant = np.ones(len(images))
            inputs.append(np.stack([constant, best, constant * np.log(episode.count)], axis=1))
            outcomes.append(np.full(len(images), outcome))
            weights.append(np.full(len(images), 1.0 / len(images)))
    fitted = calibration.fit_logistic(
        np.concatenate(inputs),
        np.concatenate(outcomes),
        100 * np.concatenate(weights),
        np.array([-2.0, 1.0, 0.0]),
        np.full(3, 10.0),
    )
    offset, slope, count = (round(float(value), 3) for value in fitted)
    draft = replace(draft, text_evidence=(offset, slope, count))
    losses = [
        rejection_losses(zero_shot_head([""] * episode.count, episode.texts, draft), episode)
        for episode in telling
    ]
    odds = LOG_ODDS[int(np.argmin(np.mean(losses, axis=0)))]
    return replace(draft, text_threshold=round(float(1.0 / (1.0 + np.exp(-odds))), 3))


def _text_trust(episode: Episode, draft: Priors) -> float:
    cosines = TextRows(episode.texts, draft.background).cosines(episode.supports)
    return trust(cosines, episode.labels, draft.temperature)


def draft_of(source: Source, *, background: bool = True) -> Priors:
    """What is known without episodes."""
    sets = source.sets
    means = [image_set.vectors.mean(axis=0) for image_set in sets]
    pairs = [a @ b for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    within = [
        np.mean([s.vectors[s.labels == label].var(axis=0).sum() for label in np.unique(s.labels)])
        for s in sets
    ]
    row = ShotRow(1, 0.5, 0.3, (2.5, 0.0, 0.0), 0.0, (-4.0, 0.0, 0.0), (-4.0, 12.0, -4.0, 0.0), (0.0,) * 4)
    return Priors(
        name=source.name,
        temperature=source.temperature,
        shots=(row,),
        unrelated=round(float(np.mean(pairs)), 4),
        text_evidence=(-2.0, 1.0, 0.0),
        text_threshold=0.3,
        variance=float(np.mean(within)) / sets[0].vectors.shape[1],
        background=source.background[0] if background else None,
    )


def fit_rows(sources: list[Source], drafts: list[Priors], *, each: int = EPISODES) -> list[Priors]:
    """Each draft with rows of coefficients that all of them share."""
    rng = np.random.default_rng(0)
    rows: list[ShotRow] = []
    for shots in SHOTS:
        drawn = [
            DrawnEpisodes(list(draw_all(source.sets, shots, each, rng, uneven=shots > FEW)), draft, source)
            for source, draft in zip(sources, drafts, strict=True)
        ]
        row = fit_row(drawn, shots)
        row = fit_threshold(correct(row, drawn) if shots < FEW else row, drawn)
        print(row)
        rows.append(row)
    fitted = []
    for draft in drafts:
        share = draft.temperature / drafts[0].temperature
        of_draft = tuple(replace(row, text_scale=row.text_scale * share) for row in rows)
        fitted.append(replace(draft, shots=of_draft))
    return fitted


def fit(source: Source) -> Priors:
    """The priors of one encoder."""
    [priors] = fit_rows([source], [draft_of(source)])
    singles = list(draw_all(source.sets, 1, EPISODES, np.random.default_rng(1), uneven=False))
    return fit_text(DrawnEpisodes(singles, priors, source))


def fit_generic(sources: list[Source]) -> Priors:
    """Priors for encoders that are not at hand, from all that are, without background images."""
    drafts = [draft_of(source, background=False) for source in sources]
    unrelated = round(float(np.mean([draft.unrelated for draft in drafts])), 4)
    drafts = [replace(draft, unrelated=unrelated) for draft in drafts]
    return fit_rows(sources, drafts, each=EPISODES // 2)[0]


def write(priors: Priors, name: str, fingerprint: str, dim: int) -> None:
    """Write JSON and vectors; text scales as fractions of the temperature, the variance for all dimensions."""
    content = {
        "fingerprint": fingerprint,
        "temperature": priors.temperature,
        "unrelated": priors.unrelated,
        "variance": round(priors.variance * dim, 4),
        "text_evidence": priors.text_evidence,
        "text_threshold": priors.text_threshold,
        "shots": [
            {**vars(row), "text_scale": round(row.text_scale / priors.temperature, 3)} for row in priors.shots
        ],
    }
    (SHIPPED / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if priors.background is not None:
        np.savez_compressed(SHIPPED / f"{name}.npz", background=np.asarray(priors.background, np.float16))


def own_encoders() -> list[str]:
    """This project's encoders that read texts, and what `lite` was before, which models were trained over."""
    names = [family.built_in for family in FAMILIES.of_kind("encoder") if family.built_in]
    for folder in sorted(CHECKPOINTS.iterdir()):
        with suppress(ModelUnavailableError):  # a vision-language model
            source = FAMILIES.resolve("encoder", folder.name)
            names += [source.name] * FAMILIES.get(source.family).reads_texts
    return [*names, *EARLIER]


def main() -> None:
    """Fit the encoders that are named, or all of this project's and then what any other encoder gets."""
    sources = [source_of(image_sets.encoder(name)) for name in sys.argv[1:] or own_encoders()]
    for source in sources:
        write(fit(source), source.name, source.fingerprint, source.sets[0].vectors.shape[1])
    if not sys.argv[1:]:
        write(fit_generic(sources), GENERIC, "", 512)


if __name__ == "__main__":
    main()
