"""From sentence vectors to the image space of a classifier, learned from the classifier's own rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

RIDGE = 1.0
NEIGHBOURS = 10
NEIGHBOUR_TEMPERATURE = 10.0
NEIGHBOUR_SHARE = 0.5
"""Measured on held-out classes by scripts/measure_imagenet_mapping.py; docs/encoders.md holds the table."""


class TextMapping(NamedTuple):
    """A fitted mapping; `apply` takes unit sentence vectors to unit vectors of the image space."""

    anchors: Matrix
    """float32[k, s]: unit sentence vector of each class's names."""
    rows: Matrix
    """float32[k, d]: the classifier's rows with their mean subtracted, each of unit norm."""
    anchor_mean: Matrix
    """float32[s]"""
    linear: Matrix
    """float32[s, d]: ridge regression from centred anchors to centred rows."""

    def apply(self, sentences: Matrix) -> Matrix:
        """float32[n, s] to float32[n, d]: the mean of two guesses at the row a classifier would have.

        One is ridge regression (linear, extrapolates); the other ConSE (Norouzi et al. 2014, eq. 4, with the
        roles of image and text exchanged): the rows of the nearest class names, weighted by a softmax.
        """
        predicted = np.asarray((sentences - self.anchor_mean) @ self.linear, np.float32)
        linear = unit(predicted)
        cosines = sentences @ self.anchors.T
        k = min(NEIGHBOURS, cosines.shape[1])
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        weights = np.exp(NEIGHBOUR_TEMPERATURE * (np.take_along_axis(cosines, nearest, axis=1) - 1.0))
        weights /= weights.sum(axis=1, keepdims=True)
        blended: Matrix = np.matmul(weights[:, None, :], self.rows[nearest])[:, 0]
        neighbours = unit(blended)
        return unit((1.0 - NEIGHBOUR_SHARE) * linear + NEIGHBOUR_SHARE * neighbours)


def fit(anchors: Matrix, classifier: Matrix, *, ridge: float = RIDGE) -> TextMapping:
    """Pair k unit sentence vectors float32[k, s] with a classifier's rows float32[k, d], class by class.

    The rows' common part is subtracted first: a softmax cannot see it, cosines would.
    """
    rows = classifier - classifier.mean(axis=0)
    anchor_mean = anchors.mean(axis=0)
    centred = (anchors - anchor_mean).astype(np.float64)
    gram = centred.T @ centred + ridge * np.eye(centred.shape[1])
    linear = np.linalg.solve(gram, centred.T @ rows)
    return TextMapping(
        anchors=anchors.astype(np.float32),
        rows=unit(rows),
        anchor_mean=anchor_mean.astype(np.float32),
        linear=linear.astype(np.float32),
    )


def unit(x: Matrix) -> Matrix:
    """Rows scaled to length one; a zero row stays zero."""
    scaled: Matrix = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return scaled
