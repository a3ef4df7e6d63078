"""A trained model's domain: what its base knows, and pictures like those that it was taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import VisionError
from app.families.encoders import domain_encoder, load_encoder, resolve
from app.inference.domain import Domain, domain_of, write_domain
from app.inference.sources import DOMAIN_FILE, EncoderConfig
from workers.shared.examples import Examples
from workers.shared.method import Run

MAX_TAUGHT = 1_000
"""Pictures that are looked at, drawn by the seed where there are more: about 10 ms each."""
MAX_EXEMPLARS = 256
LIKE, ALIKE = 0.4, 0.7
"""Bounds of the least cosine to a taught picture, in `lite`'s space: two photographs of different things have about
0, of one kind of thing 0.3 to 0.6, two crops of one photograph 0.85 (docs/encoders.md).
"""
MARGIN = 0.02
"""What float16 and another runtime may take off a cosine."""
_BATCH = 8


def add_domain(run: Run, examples: Examples, folder: Path) -> list[str]:
    """Write the domain into the folder of a trained vision-language model; the names of the files it added.

    None where the base carries no domain, or where pictures cannot be compared on this machine, nor then be warned of.
    """
    from app.families.vlms import (
        resolve_vlm,
    )

    base = domain_of(resolve_vlm(run.spec.base_model or ""))
    if base is None:
        return []
    try:
        vectors = _embed_pictures(run, examples, base)
    except VisionError as error:
        run.log(f"what the model was taught is not recorded in its domain: {error.detail}")
        return []
    if not len(vectors):
        return []
    domain = base.extend(build_domain(vectors, base.encoder))
    write_domain(domain, folder)
    run.log(f"the model knows {domain.knows}: asked about other pictures, it comes with a warning")
    return [DOMAIN_FILE]


def build_domain(vectors: NDArray[np.float32], encoder: str) -> Domain:
    """The domain of the pictures float32[n, d] of unit norm, which all lie inside.

    Exemplars by farthest-first traversal (Gonzalez 1985); the least cosine is what one in twenty of the pictures lacks
    to its nearest fellow, within bounds.
    """
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < MAX_EXEMPLARS and nearest.min() < 1 - MARGIN:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    usual = ALIKE
    if len(vectors) > 1:
        fellows = (vectors @ vectors.T - 2 * np.eye(len(vectors), dtype=np.float32)).max(axis=1)
        usual = float(np.clip(np.quantile(fellows, 0.05), LIKE, ALIKE))
    least = min(usual, float(nearest.min()) - MARGIN)
    return Domain(
        f"pictures like the {len(vectors):,} that it was trained with",
        encoder,
        vectors[chosen],
        np.full(len(chosen), least, np.float32),
    )


def _embed_pictures(run: Run, examples: Examples, base: Domain) -> NDArray[np.float32]:
    """Vectors of the different pictures that were taught, in the space of the base's domain; none where its encoder is
    not here.
    """
    config = EncoderConfig.from_settings(run.settings)
    encoder = domain_encoder(base, config)
    if encoder is None:
        return np.zeros((0, 0), np.float32)
    items = {item.sha256: item for item in examples.items if item.split in (None, "train")}
    order = np.random.default_rng(run.spec.seed).permutation(len(items))[:MAX_TAUGHT]
    shown = [list(items.values())[index] for index in order]
    model = load_encoder(resolve(encoder), config)
    parts = []
    for start in range(0, len(shown), _BATCH):
        pixels = []
        for item in shown[start : start + _BATCH]:
            try:
                pixels.append(model.preprocess(examples.image(item)))
            except FileNotFoundError:  # its example was forgotten meanwhile
                continue
        if pixels:
            parts.append(model.encode_images(np.stack(pixels)))
    return np.concatenate(parts) if parts else np.zeros((0, model.dim), np.float32)
