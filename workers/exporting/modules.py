"""An encoder's image side as a module of tensors in, unit vectors out: what an exported graph computes."""

from __future__ import annotations

import torch
from torch import nn

from app.inference.family import ImageTower


class ImageSide(nn.Module):
    """pixels float[n, 3, h, w] to unit vectors float[n, d]."""

    centre: torch.Tensor

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower.module
        self.register_buffer("centre", tower.centre)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.tower(pixels) - self.centre, dim=-1)
