"""Labels by their texts alone, and how far those texts can be trusted where there are examples to check them."""

from __future__ import annotations

import numpy as np

from app.heads.types import Doubles, Floats, Ints, softmax

_STEPS = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Fractions of the encoder's text temperature among which `trust` weighs."""


class TextRows:
    """Cosines of images with the labels' texts, less what any image has with them.

    Some texts are near to all images (the gap between modalities, and hubs): each text's mean cosine over the
    background images is subtracted, and its deviation over them is the unit in which `none` measures.
    """

    def __init__(self, texts: Floats, background: Floats | None) -> None:
        """`texts` float32[C, d] of unit norm; `background` float32[k, d]."""
        self.rows = np.ascontiguousarray(texts, np.float32)
        if background is None or len(background) < 2:
            self.mean: Doubles = np.zeros(len(texts))
            self.deviation: Doubles = np.full(len(texts), 1.0)
        else:
            cosines = np.asarray(background @ texts.T, np.float64)
            self.mean = cosines.mean(axis=0)
            self.deviation = np.maximum(cosines.std(axis=0), 1e-3)

    def rearrange(self, order: Ints) -> TextRows:
        """Text `order[i]` becomes text i."""
        other = TextRows(self.rows[order], None)
        other.mean, other.deviation = self.mean[order], self.deviation[order]
        return other

    def linear(self, scales: Doubles) -> tuple[Doubles, Doubles]:
        """`cosines` times `scales` float64[C], as weights float64[d, C] and bias float64[C]."""
        return self.rows.T * scales, -self.mean * scales

    def cosines(self, features: Floats) -> Doubles:
        """float64[m, C] of float32[m, d]."""
        centred: Doubles = np.asarray(features @ self.rows.T, np.float64) - self.mean
        return centred


def trust(cosines: Doubles, labels: Ints, temperature: float) -> float:
    """How well the texts alone rank the supports, from 0 (like chance or worse) to 1.

    `cosines` float64[n, C] of the supports with the texts, `labels` int64[n]. It is the posterior mean of the
    fraction of `temperature` that explains the supports' labels, half of the prior being at 0: names that say
    nothing (SKU-123) explain them worse the more they are believed.
    """
    if len(labels) == 0 or cosines.shape[1] < 2:
        return 0.0
    rows = np.arange(len(labels))
    evidence = []
    for step in _STEPS:
        chosen = softmax(step * temperature * cosines)[rows, labels]
        evidence.append(float(np.log(np.maximum(chosen, 1e-12)).sum()))
    prior = np.full(len(_STEPS), 0.5 / (len(_STEPS) - 1))
    prior[0] = 0.5
    posterior = softmax((np.array(evidence) + np.log(prior))[None])[0]
    return float(posterior @ np.array(_STEPS))
