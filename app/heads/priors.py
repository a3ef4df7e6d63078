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

from app.heads.types import Doubles, Floats, unit

SHIPPED = Path(__file__).resolve().parent / "shipped"
GENERIC = "generic"


class Encoder(Protocol):
    """What priors depend on, of any encoder."""

    name: str
    fingerprint: str
    temperature: float
    dim: int


@dataclass(frozen=True)
class ShotPrior:
    """What fits best with so many examples a label."""

    shots: int
    width: float
    """b of exp(-b (1 - cosine)) is this over the median of 1 - cosine among the supports, so that one table
    serves collections of look-alikes and of unlike things, whatever the encoder."""
    ridge: float
    """l of (K / l + I)."""
    unlike_scale: float
    """Logits a predicted one-hot entry of one is worth where labels have nothing in common."""
    alike_scale: float
    """The same where the labels' examples are all but the same."""
    text_scale: float
    """Logits a cosine with a trusted text is worth beside examples."""
    gda_scale: float
    """Logits a GDA discriminant is worth."""
    threshold: float
    """Score below which to reject."""

    def image_scale(self, likeness: float) -> float:
        """Between the two scales, by how much the labels' examples are alike, 0 to 1."""
        share = min(max(likeness, 0.0), 1.0)
        return (1.0 - share) * self.unlike_scale + share * self.alike_scale


@dataclass(frozen=True)
class Priors:
    """Everything that fitting needs to know of an encoder."""

    name: str
    temperature: float
    """Logits a text cosine is worth without examples."""
    shots: tuple[ShotPrior, ...]
    unrelated: float
    """Mean cosine of images that have nothing to do with each other."""
    image_evidence: tuple[float, float, float, float]
    """Log-odds that an image shows a label: offset, and weights of the nearest exemplar's relative similarity, of
    the labels' own relative similarity to one another, and of the logarithm of the number of exemplars."""
    text_evidence: tuple[float, float, float]
    """The same without examples: offset, and weights of the best text's deviation and of log(labels)."""
    text_threshold: float
    """Score below which to reject without examples."""
    variance: float
    """Within-label variance of one dimension."""
    background: Floats | None
    """float32[k, d]: unit vectors of images of many kinds."""

    def at(self, shots: float) -> ShotPrior:
        """The entry nearest to so many shots, by ratio."""
        return min(self.shots, key=lambda one: abs(np.log(one.shots / max(shots, 1.0))))

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
    for written in (SHIPPED / f"{name}.json", *sorted(SHIPPED.glob(f"{name}-*.json"))):
        if not written.is_file():
            continue
        content = json.loads(written.read_text(encoding="utf-8"))
        if content["fingerprint"] == fingerprint:
            vectors = np.load(written.with_suffix(".npz"))["background"].astype(np.float32)
            return _read(name, content, content["temperature"], unit(vectors))
    content = json.loads((SHIPPED / f"{GENERIC}.json").read_text(encoding="utf-8"))
    return _read(GENERIC, content, temperature, None)


def _read(name: str, content: dict[str, Any], temperature: float, background: Floats | None) -> Priors:
    """A shipped file; text scales in it are fractions of the temperature."""
    return Priors(
        name=name,
        temperature=temperature,
        shots=tuple(
            ShotPrior(**{**row, "text_scale": row["text_scale"] * temperature}) for row in content["shots"]
        ),
        unrelated=content["unrelated"],
        image_evidence=tuple(content["image_evidence"]),
        text_evidence=tuple(content["text_evidence"]),
        text_threshold=content["text_threshold"],
        variance=content["variance"] / (len(background[0]) if background is not None else 512),
        background=background,
    )
