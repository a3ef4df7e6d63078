"""The small network that methods learn on features, and distances in its space."""

from __future__ import annotations

import torch
from torch import nn

from app.inference.protocols import Vectors


class Projection(nn.Module):
    """A linear map to unit vectors, after the encoder's last stages if they learn along; starts as a random rotation,
    which keeps the features' distances.
    """

    def __init__(self, dim: int, out: int, tail: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, out)
        nn.init.orthogonal_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.tail = tail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.layer(x if self.tail is None else self.tail(x)), dim=-1)


def squared(points: Vectors, centres: Vectors) -> Vectors:
    """float[m, k] and float[C, k] to their squared Euclidean distances float[m, C]."""
    found: Vectors = ((points[:, None] - centres[None]) ** 2).sum(axis=-1)
    return found


def array(tensor: torch.Tensor) -> Vectors:
    """float32 in memory."""
    found: Vectors = tensor.detach().cpu().float().numpy()
    return found
