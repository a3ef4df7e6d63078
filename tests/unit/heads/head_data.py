"""Synthetic vectors of a few labels, and priors to fit heads with.

Knows random numbers with seeds.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from app.heads import Priors, SupportSet, priors_of
from app.heads.types import unit

Floats = NDArray[np.float32]


def generic_priors(dim: int = 32) -> Priors:
    """What an unknown encoder gets."""
    encoder = SimpleNamespace(name="unheard-of", fingerprint="0" * 16, temperature=50.0, dim=dim)
    return priors_of(encoder)  # type: ignore[arg-type]


def clusters(
    labels: int, each: int, *, dim: int = 32, noise: float = 0.7, seed: int = 0
) -> tuple[Floats, Floats]:
    """Unit vectors float32[labels, each, dim] around unit means float32[labels, dim]."""
    rng = np.random.default_rng(seed)
    means = unit(rng.normal(size=(labels, dim)).astype(np.float32))
    spread = noise * rng.normal(size=(labels, each, dim)) / np.sqrt(dim)
    return unit((means[:, None] + spread).astype(np.float32)), means


def support_set(vectors: Floats) -> SupportSet:
    """Vectors float32[labels, each, d] under the ids 0, 1, ..."""
    supports = SupportSet(vectors.shape[2])
    ids = np.repeat(np.arange(len(vectors)), vectors.shape[1])
    supports.add(ids, vectors.reshape(-1, vectors.shape[2]))
    return supports
