"""The array types that the heads share, and small arithmetic on them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


def softmax(logits: Doubles) -> Doubles:
    """Rows that sum to one."""
    shifted = np.exp(logits - np.maximum.reduce(logits, axis=1, keepdims=True))
    scaled: Doubles = shifted / np.add.reduce(shifted, axis=1, keepdims=True)
    return scaled


def sigmoid(x: Doubles) -> Doubles:
    """1 / (1 + exp(-x)) without overflow."""
    half: Doubles = 0.5 * (1.0 + np.tanh(0.5 * x))
    return half


def sigmoid_of(x: float) -> float:
    """The same of one number."""
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def unit(x: Floats) -> Floats:
    """Rows scaled to length one; a row of zeros, or one that is not finite, becomes zeros."""
    finite = np.asarray(x, np.float32)
    length = _length(finite)
    if not np.isfinite(length).all():  # the exact way, which takes longer than all the rest
        finite = np.where(np.isfinite(finite), finite, np.float32(0.0))
        length = _length(finite)
    scaled: Floats = np.divide(finite, np.maximum(length, np.float32(1e-12)))
    return scaled


def _length(x: Floats) -> Floats:
    """float32[..., 1]: as `numpy.linalg.norm` has it, without its many cases."""
    squares: Floats = np.add.reduce(x * x, axis=-1, keepdims=True)
    length: Floats = np.sqrt(squares)
    return length
