"""An image tower with a linear head on unit features: what many-shot classification trains and publishes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from app.families import FAMILIES
from app.inference.family import ImageTower
from app.inference.protocols import Vectors
from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams

_PROBE_C, _PROBE_STEPS = 1000.0, 300
"""Inverse strength of the probe's regularisation, weak since the features have unit length, and its most steps."""


class Classifier(nn.Module):
    """pixel_values float[n, 3, h, w] to logits float[n, C], and the loss where labels int64[n] are given."""

    centre: torch.Tensor
    weights: torch.Tensor

    def __init__(self, tower: ImageTower, labels: int, params: FinetuneParams, counts: list[int]) -> None:
        """`counts` are the training examples by label, for `class_weights`."""
        super().__init__()
        self.tower = tower.module
        self.family = tower.family
        self.scale = tower.temperature
        self.merged = False
        self.weighted = params.class_weights
        if params.lora is not None:
            self.tower = _with_lora(tower, params)
        self.head = nn.Linear(tower.dim, labels)
        self.register_buffer("centre", tower.centre, persistent=False)
        balance = torch.ones(labels)
        if params.class_weights:
            balance = sum(counts) / (labels * torch.tensor(counts, dtype=torch.float32).clamp_min(1))
        self.register_buffer("weights", balance, persistent=False)
        self.frozen_norms = [module for module in self.tower.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in self.frozen_norms:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Classifier:
        """Batch norms keep their statistics: small batches would spoil them, and several ranks would differ."""
        super().train(mode)
        for norm in self.frozen_norms:
            norm.eval()
        return self

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """float[n, d], unit rows, as the served encoder gives them."""
        return nn.functional.normalize(self.tower(pixel_values) - self.centre, dim=-1)

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        logits = self.scale * self.head(self.features(pixel_values))
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits.float(), labels, weight=self.weights)
        return {"loss": loss, "logits": logits}

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Recompute the tower's activations in the backward pass; raises NotTrainableError where it cannot."""
        enable = getattr(self.tower, "gradient_checkpointing_enable", None)
        if enable is None:
            raise NotTrainableError(
                f"`{self.family}` is too small to recompute activations: leave gradient_checkpointing out."
            )
        enable(gradient_checkpointing_kwargs=gradient_checkpointing_kwargs or {"use_reentrant": False})

    @torch.no_grad()
    def start_head(self, features: Vectors, y: NDArray[np.int64]) -> None:
        """Begin with the linear probe of the untrained tower's features float32[n, d], labels int64[n]: a head that is
        random at first spoils the features below it (LP-FT, Kumar et al. 2022).
        """
        balance = "balanced" if self.weighted else None
        probe = LogisticRegression(C=_PROBE_C, class_weight=balance, max_iter=_PROBE_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: training goes on from there
            probe.fit(features, y)
        rows, bias = probe.coef_, probe.intercept_
        if len(rows) == 1:  # of two labels scikit-learn keeps the second one's
            rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
        self.head.weight.copy_(torch.from_numpy(rows / self.scale))
        self.head.bias.copy_(torch.from_numpy(bias / self.scale))

    def groups(self, params: FinetuneParams) -> list[dict[str, Any]]:
        """For the optimiser: the tower, and the head with its own rate, which counts in logits."""
        tower = [parameter for parameter in self.tower.parameters() if parameter.requires_grad]
        head_rate = params.peak_head_rate
        return [
            {"params": tower, "lr": params.peak_rate},
            {"params": list(self.head.parameters()), "lr": head_rate, "weight_decay": 0.0},
        ]

    def head_rows(self, factor: float) -> tuple[Vectors, Vectors]:
        """rows float32[C, d] and bias float32[C] of the logits on unit features, times `factor`."""
        both = (
            self.scale * factor * parameter.detach().float().cpu().numpy()
            for parameter in self.head.parameters()
        )
        rows, bias = both
        return rows.astype(np.float32), bias.astype(np.float32)


def write_tower(model: Classifier, tower: ImageTower, folder: Path) -> list[str]:
    """The tower's weights as the serving side reads them; the files."""
    module: Any = model.tower
    if hasattr(module, "merge_and_unload"):
        module = module.merge_and_unload()
    state = {name: tensor.detach().cpu().float() for name, tensor in module.state_dict().items()}
    return FAMILIES.get(tower.family).write_changed(tower, state, folder)


def _with_lora(tower: ImageTower, params: FinetuneParams) -> Any:
    layers = FAMILIES.get(tower.family).linear_layers
    if params.lora is None or not layers:
        raise NotTrainableError(
            f"`{tower.family}` takes no adapters: leave `lora` out, or train it by the method lora."
        )
    rank = params.lora.rank or 16
    config = LoraConfig(
        r=rank,
        lora_alpha=params.lora.alpha or 2 * rank,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=0.05 if params.lora.dropout is None else params.lora.dropout,
        target_modules=params.lora.targets or list(layers),
    )
    tower.module.requires_grad_(False)
    return get_peft_model(tower.module, config)
