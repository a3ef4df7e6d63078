"""What is known of an encoder before any example is seen: scales, kernel widths, what an unrelated image looks like.

`scripts/fit_priors.py` writes the files in `shipped/` from simulated episodes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.heads.types import Doubles, Floats, sigmoid_of, unit

SHIPPED = Path(__file__).resolve().parent / "shipped"
GENERIC = "generic"

Coefficients = tuple[float, float, float]
"""Of one, of how alike the labels are, and of the logarithm of their number."""


class Encoder(Protocol):
    """What priors depend on, of any encoder."""

    name: str
    fingerprint: str
    temperature: float
    dim: int


@dataclass(frozen=True)
class ShotPrior:
    """What fits best before the examples are looked at any closer, for one collection."""

    width: float
    """b of exp(-b (1 - cosine)) is this over the median of 1 - cosine among the supports, so that one table
    serves collections of look-alikes and of unlike things, whatever the encoder."""
    ridge: float
    """l of (K / l + I)."""
    image_scale: float
    """Logits a predicted one-hot entry of one is worth."""
    text_scale: float
    """Logits a cosine with a trusted text is worth beside examples."""
    gda_scale: float
    """Logits a GDA discriminant is worth."""
    evidence: tuple[float, float]
    """Log-odds that an image shows a label, where half of the images do: offset, and weight of the nearest exemplar's
    relative similarity."""
    threshold_odds: float
    """Log-odds of the score below which to reject."""
    background_weight: float
    """What is added to them for each of the log-odds that background images get."""

    def threshold(self, background_odds: float = 0.0) -> float:
        """The score below which to reject, from the log-odds of the best score of background images."""
        return sigmoid_of(self.threshold_odds + self.background_weight * background_odds)


@dataclass(frozen=True)
class ShotRow:
    """What is shipped for so many examples a label, as functions of the collection.

    `alike` is how near the labels' examples are to one another: the mean relative similarity of an example to the
    nearest of another label.
    """

    shots: int
    width: float
    ridge: float
    image_scale: Coefficients
    """Logarithm of the scale: offset, and weights of `alike` and of the logarithm of the number of labels."""
    text_scale: float
    gda_scale: Coefficients
    """As `image_scale`."""
    evidence: tuple[float, float, float, float]
    """Log-odds: offset, and weights of the nearest exemplar's relative similarity, of `alike` and of the logarithm of
    the number of exemplars."""
    threshold: tuple[float, float, float, float]
    """Log-odds: as `image_scale`, and the weight of the log-odds of the best score of background images."""

    def at(self, alike: float, labels: int, exemplars: int) -> ShotPrior:
        """For a collection of so many labels that have examples, and exemplars of all of them together."""
        inputs = np.array([1.0, min(max(alike, 0.0), 1.0), np.log(max(labels, 2))])
        offset, slope, between, count = self.evidence
        return ShotPrior(
            width=self.width,
            ridge=self.ridge,
            image_scale=float(np.exp(inputs @ self.image_scale)),
            text_scale=self.text_scale,
            gda_scale=float(np.exp(inputs @ self.gda_scale)),
            evidence=(offset + between * inputs[1] + count * float(np.log(max(exemplars, 1))), slope),
            threshold_odds=float(inputs @ self.threshold[:3]),
            background_weight=self.threshold[3],
        )


@dataclass(frozen=True)
class Priors:
    """Everything that fitting needs to know of an encoder."""

    name: str
    temperature: float
    """Logits a text cosine is worth without examples."""
    shots: tuple[ShotRow, ...]
    unrelated: float
    """Mean cosine of images that have nothing to do with each other."""
    text_evidence: tuple[float, float, float]
    """Log-odds that an image shows a label where there are no examples and half of the images show one: offset, and
    weights of the best text's deviation and of log(labels)."""
    text_threshold: float
    """Score below which to reject without examples."""
    variance: float
    """Within-label variance of one dimension."""
    background: Floats | None
    """float32[k, d]: unit vectors of images of many kinds."""

    def at(self, shots: float, alike: float = 0.0, labels: int = 2, exemplars: int = 2) -> ShotPrior:
        """What is assumed of a collection, from the row nearest to so many examples a label, by ratio."""
        row = min(self.shots, key=lambda row: abs(np.log(row.shots / max(shots, 1.0))))
        return row.at(alike, labels, exemplars)

    def relative(self, cosines: Doubles) -> Doubles:
        """Cosines so that unrelated images are about 0 and the same image is 1, whatever the encoder."""
        return (cosines - self.unrelated) / (1.0 - self.unrelated)


def priors_of(encoder: Encoder) -> Priors:
    """What is shipped for exactly these weights, or the generic priors at the encoder's own temperature."""
    return named_priors(encoder.name, encoder.fingerprint, float(encoder.temperature), encoder.dim)


@lru_cache(maxsize=64)
def named_priors(name: str, fingerprint: str, temperature: float, dim: int) -> Priors:
    """The same for an encoder that is not at hand, or was called `name` when it was another: its file is called
    `name-` and something then.
    """
    for written in sorted(
        SHIPPED.glob("*.json")
    ):  # an upload may name anything: the name is no part of a path
        if written.stem != name and not written.stem.startswith(f"{name}-"):
            continue
        content = json.loads(written.read_text(encoding="utf-8"))
        if content["fingerprint"] == fingerprint:
            vectors = np.load(written.with_suffix(".npz"))["background"].astype(np.float32)
            if vectors.shape[1] == dim:  # an upload may say anything of itself
                return _read(name, content, content["temperature"], unit(vectors))
    content = json.loads((SHIPPED / f"{GENERIC}.json").read_text(encoding="utf-8"))
    return _read(GENERIC, content, temperature, None)


def _read(name: str, content: dict[str, Any], temperature: float, background: Floats | None) -> Priors:
    """A shipped file; text scales in it are fractions of the temperature."""
    return Priors(
        name=name,
        temperature=temperature,
        shots=tuple(_read_row(row, temperature) for row in content["shots"]),
        unrelated=content["unrelated"],
        text_evidence=tuple(content["text_evidence"]),
        text_threshold=content["text_threshold"],
        variance=content["variance"] / (len(background[0]) if background is not None else 512),
        background=background,
    )


def _read_row(row: dict[str, Any], temperature: float) -> ShotRow:
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return ShotRow(**{**kept, "text_scale": row["text_scale"] * temperature})
