"""The small network that methods learn on features, and how distances in its space become calibrated scores.

Knows vectors and distances; knows nothing of examples, steps or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from app.inference.protocols import Vectors
from workers.methods.lite_tail import LiteTail


class Projection(nn.Module):
    """A linear map to unit vectors, after the encoder's last stages if they learn along; starts as a random rotation,
    which keeps the features' distances.
    """

    def __init__(self, dim: int, out: int, tail: LiteTail | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, out)
        nn.init.orthogonal_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.tail = tail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projected(x if self.tail is None else self.tail(x))

    def projected(self, features: torch.Tensor) -> torch.Tensor:
        """float[n, d] to float[n, k]."""
        return nn.functional.normalize(self.layer(features), dim=-1)


def squared(points: Vectors, centres: Vectors) -> Vectors:
    """float[m, k] and float[C, k] to their squared Euclidean distances float[m, C]."""
    found: Vectors = ((points[:, None] - centres[None]) ** 2).sum(axis=-1)
    return found


def fitted_scale(logits: Vectors, y: np.ndarray[Any, Any], usual: float) -> float:
    """s of softmax(s * logits) with the least log loss on these examples (temperature scaling, Guo et al. 2017),
    drawn towards the usual one as by two more examples.
    """
    if not len(y):
        return usual

    def cost(log_scale: float) -> float:
        log_odds = log_softmax(float(np.exp(log_scale)) * logits)
        return float(-log_odds[np.arange(len(y)), y].sum() + 2.0 * (log_scale - np.log(usual)) ** 2)

    bounds = np.log(usual / 100), np.log(usual * 100)
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))


def log_softmax(logits: Vectors) -> Vectors:
    """float[m, C], along the last axis."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Vectors = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def array(tensor: torch.Tensor) -> Vectors:
    """float32 in memory."""
    found: Vectors = tensor.detach().cpu().float().numpy()
    return found
