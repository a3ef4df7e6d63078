"""What a vector of `lite` holds: which numbers of the networks, how they are scaled, and what is subtracted."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from app.families.lite.efficientnet_lite import Block, EfficientNetLite
from app.families.lite.variants import EPSILON, LEVEL_SHARE, LEVEL_SPREAD, ROOT_SHARE
from app.inference.protocols import Vectors
from app.inference.runtimes.pruning import clipped_mean


def signed_root(x: torch.Tensor) -> torch.Tensor:
    """Tukey's power transform with exponent 1/2, of both signs: large features no longer drown the others."""
    return x / torch.sqrt(x.abs() + EPSILON)


def join(pooled: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """float[n, 1280] and float[n, c] to float32[n, 1280 + c]: the roots of both, the first part of length 1, the second
    of `LEVEL_SHARE`.
    """
    first = nn.functional.normalize(signed_root(pooled.float()), dim=-1)
    second = nn.functional.normalize(signed_root(level.float()), dim=-1)
    return torch.cat([first, LEVEL_SHARE * second], dim=1)


class RootedLite(EfficientNetLite):
    """float[n, 3, h, w] to float32[n, 1280 + c]: pooled features, and the means before the last stage, as `join` puts
    them together. Its tensors have the names of `EfficientNetLite`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = self.before_last_stage(x)
        return join(
            self.last_stage(level), level.float().mean(dim=(2, 3))
        )  # roots blow up what half precision rounds


class LitePair(nn.Module):
    """Lite0's and Lite2's features of the same pixels, side by side: float32[n, 2960], each half of about length 1."""

    def __init__(self, lite0: RootedLite, lite2: RootedLite) -> None:
        super().__init__()
        self.lite0, self.lite2 = lite0, lite2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.lite0(x), self.lite2(x)], dim=1)


def expected_features(module: nn.Module) -> Vectors:
    """float32[d]: the module's mean over the images it was trained on, from its batch norms alone."""
    if isinstance(module, LitePair):
        return np.concatenate([expected_features(module.lite0), expected_features(module.lite2)])
    if not isinstance(module, EfficientNetLite):
        raise TypeError("the tower of lite is another network")
    pooled = clipped_mean(module.bn1)
    if isinstance(module, RootedLite):
        first = ROOT_SHARE * nn.functional.normalize(pooled.sqrt(), dim=0)
        pooled = torch.cat([first, LEVEL_SHARE * _expected_level(module)])
    mean: Vectors = pooled.float().numpy()
    return mean


def level_norms(module: EfficientNetLite) -> tuple[torch.Tensor, torch.Tensor]:
    """float64[c] twice: mean and variance, over images and places, of what the last stage is given.

    It is a sum of what batch norms give, one a block of the stage before, whose biases are their means and whose
    weights are their deviations; the sum of the variances takes them for independent.
    """
    blocks = [block for block in list(module.blocks)[: module.cut] if isinstance(block, Block)]
    norms = [block.bn2 for block in blocks if block.bn2.num_features == module.level_width]
    means = torch.stack([norm.bias.detach().double() for norm in norms])
    deviations = torch.stack([norm.weight.detach().double() for norm in norms])
    return means.sum(dim=0), (deviations**2).sum(dim=0)


def _expected_level(module: EfficientNetLite) -> torch.Tensor:
    """float32[c]: of the roots of means over places, of about unit length an image.

    A mean over places is about normal among images; the roots' mean is an integral over that.
    """
    mean, variance = level_norms(module)
    z = torch.linspace(-4.0, 4.0, 401, dtype=torch.float64)
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    values = mean[:, None] + LEVEL_SPREAD * variance.sqrt()[:, None] * z
    length = torch.sqrt((values.abs() * density).sum())
    return ((signed_root(values) * density).sum(dim=1) / length).float()
