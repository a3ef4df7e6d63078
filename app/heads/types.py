"""The array types that the heads share, and small arithmetic on them."""

from __future__ import annotations

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


def unit(x: Floats) -> Floats:
    """Rows scaled to length one; a row of zeros, or one that is not finite, becomes zeros."""
    finite = np.asarray(x, np.float32)
    length = _length(finite)
    if not np.isfinite(length).all():  # the exact way, which takes longer than all the rest
        finite = np.nan_to_num(finite, nan=0.0, posinf=0.0, neginf=0.0)
        length = _length(finite)
    scaled: Floats = finite / np.maximum(length, 1e-12)
    return scaled


def _length(x: Floats) -> Floats:
    """float32[..., 1]: as `numpy.linalg.norm` has it, without its many cases."""
    length: Floats = np.sqrt(np.add.reduce(x * x, axis=-1, keepdims=True))
    return length
