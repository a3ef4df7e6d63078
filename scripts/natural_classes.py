"""Simulated features of natural photos, since no wheel carries photos of many classes.

Made from a classifier's rows of named classes (`Family.named_classes`) and the covariance of real photos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.families import text_mapping
from benchmarks.image_sets import ImageSet


def imagenet_like(
    spread: NDArray[np.float32],
    weights: NDArray[np.float32],
    anchors: NDArray[np.float32],
    *,
    classes: int = 200,
    each: int = 25,
) -> ImageSet:
    """Features as natural photos of ImageNet classes might have: simulated, since no wheel carries such photos.

    `weights` and `anchors` are the encoder's named classes. A class's mean lies partly along the classifier's rows of
    the class and its likes (real photos: cosine about .3 with their class's row), a picture partly along its class's
    mean (cosines of .15 to .7 within a class); the rest is noise that varies as the rows of `spread` (real photos) do,
    and evenly. Texts are mapped by regressions that have not seen the class.
    """
    rng = np.random.default_rng(3)
    rows = text_mapping.unit(weights - weights.mean(axis=0))
    order = rng.permutation(len(rows))
    texts = np.empty_like(rows)
    for fold in range(5):
        unseen, known = order[fold::5], np.setdiff1d(order, order[fold::5])
        texts[unseen] = text_mapping.fit(anchors[known], weights[known]).apply(anchors[unseen])
    likes = np.exp(12 * (rows @ rows.T))
    likes[likes < np.sort(likes, axis=1)[:, -10:-9]] = 0
    meaning = text_mapping.unit(likes @ rows)
    centred = spread - spread.mean(axis=0)

    def noise(n: int) -> NDArray[np.float32]:
        real = text_mapping.unit(rng.normal(size=(n, len(centred))) @ centred)
        even = text_mapping.unit(rng.normal(size=(n, rows.shape[1])))
        return text_mapping.unit(0.6 * real + 0.8 * even)

    chosen = order[:classes]
    means = text_mapping.unit(0.75 * meaning[chosen] + 0.66 * noise(classes))
    share = rng.uniform(0.15, 0.7, size=(classes, 1, 1))
    pictures = noise(classes * each).reshape(classes, each, -1)
    vectors = text_mapping.unit(np.sqrt(share) * means[:, None] + np.sqrt(1 - share) * pictures)
    names = tuple(str(class_index) for class_index in chosen)
    flat = vectors.reshape(classes * each, -1).astype(np.float32)
    return ImageSet("imagenet-like", flat, np.repeat(np.arange(classes), each), names, texts[chosen])
