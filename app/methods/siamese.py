"""Siamese networks as a training method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.methods.method import Method
from app.methods.params import Params


class SiameseParams(Params):
    """Siamese networks on pairs (contrastive: Hadsell et al. 2006) or triplets (Schroff et al. 2015)."""

    steps: int = Field(300, ge=1, le=1_000_000, description="Optimiser steps.")
    loss: Literal["contrastive", "triplet"] = Field("triplet", description="Pairs or triplets.")
    margin: float | None = Field(
        None,
        gt=0,
        le=4,
        description="Between unit vectors; empty: .3 of squared distance for triplets, 1 of distance for pairs.",
    )
    batch_size: int = Field(32, ge=2, le=4096, description="Examples a step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="AdamW's.")
    dim: int = Field(256, ge=8, le=4096, description="Size of the learned embedding.")
    end_to_end: bool = Field(False, description="Train the encoder's last stages too, on pixels.")

    @property
    def min_examples_per_label(self) -> int:
        """Two to compare, or one and its changed copies."""
        return 1 if self.augment else 2


METHOD = Method(
    SiameseParams,
    learns={"encoder": frozenset({"classification"})},
    trains="a projection, on pairs or triplets",
    meant_for="few examples of many labels; one a label will do with augmentation",
    position=4,
)
