"""What a label says to an encoder: its name in a few sentences, and its description where it has one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.inference.engine.interface import ServedEncoder

TEMPLATES = ("a photo of a {}.", "a picture of the {}.", "{}")
"""A few of the prompts of Radford et al. 2021 (section 3.1.4), who average many more for a small gain."""


def prompts(label: str, description: str = "") -> list[str]:
    """The sentences for one label; underscores are read as spaces."""
    name = label.replace("_", " ").strip() or label
    sentences = [template.replace("{}", name) for template in TEMPLATES]
    if description:
        sentences.append(f"{name}, {description}")
    return sentences


async def label_vectors(
    live: ServedEncoder, labels: Sequence[tuple[str, str]], *, deadline_s: float
) -> NDArray[np.float32]:
    """float32[labels, d]: for each (name, description) the mean of its prompts' vectors, of unit norm."""
    written = [prompts(*label) for label in labels]
    vectors = await live.embed_texts([text for group in written for text in group], deadline_s=deadline_s)
    if not written:
        return vectors
    starts = np.cumsum([0, *(len(group) for group in written[:-1])])
    sums = np.add.reduceat(vectors, starts, axis=0)
    unit: NDArray[np.float32] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit.astype(np.float32)
