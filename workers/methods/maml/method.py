"""MAML (Finn et al. 2017) and ANIL (Raghu et al. 2020) on an encoder's features.

The inner loop adapts a head (MAML: the projection too) to an episode's supports. The model that is served went
through it once more, on all examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.inference.protocols import Vectors
from app.models.classifiers import Weights, select_exemplars
from workers.methods.common.episodes import Episodes
from workers.methods.common.on_features import FeatureMethod
from workers.methods.common.projecting import Projection, array

_SCALE = 10.0
_FOLDS = 5
_BODY_RATE = 0.1
"""Of the head's inner rate: at the whole of it the projection leaves what it had learned, and training diverges."""
Fast = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Projection (weight float[k, d], bias float[k]) and head (weight float[w, k], bias float[w])."""


class Maml(FeatureMethod):
    """See `workers.shared.method.TrainingMethod`."""

    usual_scale = 1.0

    def build(self) -> nn.Module:
        """A projection, and the scale of its output, which learns along."""
        self.episodes = Episodes(self.y, self.params, self.rng)
        net = super().build()
        net.log_scale = nn.Parameter(torch.tensor(_SCALE).log())
        return net

    def loss(self, step: int) -> torch.Tensor:
        """Mean over `tasks_per_step` episodes of the queries' cross-entropy after the inner loop."""
        total = torch.zeros((), device=self.device)
        for _ in range(self.params.tasks_per_step):
            episode = self.episodes.draw()
            supports, queries = (self._enter(rows) for rows in (episode.supports, episode.queries))
            ways = torch.arange(len(episode.ways), device=self.device)
            fast = self._adapt(
                supports, ways.repeat_interleave(episode.supports.shape[1]), len(ways), learning=True
            )
            truth = ways.repeat_interleave(episode.queries.shape[1])
            total = total + functional.cross_entropy(self._logits(queries, fast), truth)
        mean: torch.Tensor = total / self.params.tasks_per_step
        return mean

    def weights(self, x: Vectors, y: np.ndarray[Any, Any]) -> Weights:
        """Projection and head after the inner loop on these examples, each copy of an example counting."""
        fast = self._fast(x, y)
        scale = self.scale() * float(self._log_scale().detach().exp())
        layers = ((array(fast[0]), array(fast[1])),)
        rows, bias = (np.asarray(scale * array(weight), np.float32) for weight in fast[2:])
        return Weights(*select_exemplars(self.encode(x[:, 0]), y), None, layers, rows, bias)

    def validation_logits(self) -> tuple[Vectors, np.ndarray[Any, Any]]:
        """See `FeatureMethod`: the inner loop is run without the examples that are asked about, some at a time."""
        if len(self.validation_y):
            return self._answers(self.validation_x, self._fast(self.x, self.y)), self.validation_y
        place = np.empty(len(self.y), np.int64)
        for label in range(len(self.labels)):
            own = np.flatnonzero(self.y == label)
            place[own] = np.arange(len(own)) % _FOLDS
        logits, truth = [], []
        for fold in range(place.max() + 1):
            out = place == fold
            logits.append(self._answers(self.x[out, 0], self._fast(self.x[~out], self.y[~out])))
            truth.append(self.y[out])
        return np.concatenate(logits), np.concatenate(truth)

    @property
    def chosen_by(self) -> str:
        return "validation" if len(self.validation_y) else "cross_validation"

    def _adapt(self, features: torch.Tensor, y: torch.Tensor, ways: int, *, learning: bool) -> Fast:
        """The inner loop: gradient steps from the learned projection and a head of zeros.

        The head starts at zero in every episode, so that no label's place means anything (the zeroing trick of Kao,
        Chiu and Chen 2022); `learning` keeps the graph for the outer gradient.
        """
        net = self._projection()
        size = net.layer.out_features
        head = torch.zeros(ways, size, device=self.device, requires_grad=True)
        bias = torch.zeros(ways, device=self.device, requires_grad=True)
        fast: Fast = (net.layer.weight, net.layer.bias, head, bias)
        every = self.params.algorithm == "maml"
        second = learning and not self.params.first_order
        for _ in range(self.params.inner_steps):
            moved = fast if every else fast[2:]
            loss = functional.cross_entropy(self._logits(features, fast), y)
            slopes = torch.autograd.grad(loss, moved, create_graph=second, retain_graph=learning)
            rates = (_BODY_RATE, _BODY_RATE, 1.0, 1.0)[-len(moved) :]
            stepped = [
                weight - self.params.inner_rate * rate * slope
                for weight, rate, slope in zip(moved, rates, slopes, strict=True)
            ]
            fast = (*fast[: 4 - len(stepped)], *stepped)
        return fast

    def _logits(self, features: torch.Tensor, fast: Fast) -> torch.Tensor:
        """float[n, w]"""
        z = functional.normalize(functional.linear(features, fast[0], fast[1]), dim=-1)
        return self._log_scale().exp() * functional.linear(z, fast[2], fast[3])

    def _enter(self, rows: np.ndarray[Any, Any]) -> torch.Tensor:
        """float[n, d]: what the projection is given of these examples."""
        shown = self.draw_views(rows.reshape(-1))
        tail = self._projection().tail
        return shown if tail is None else tail(shown)

    def _fast(self, x: Vectors, y: np.ndarray[Any, Any]) -> Fast:
        features = self.encode(x)
        flat = torch.from_numpy(features.reshape(-1, features.shape[-1])).to(self.device)
        truth = torch.from_numpy(np.repeat(y, x.shape[1])).to(self.device)
        found = self._adapt(flat, truth, len(self.labels), learning=False)
        return tuple(weight.detach() for weight in found)  # type: ignore[return-value]

    def _answers(self, x: Vectors, fast: Fast) -> Vectors:
        with torch.no_grad():
            return array(self._logits(torch.from_numpy(self.encode(x)).to(self.device), fast))

    def _projection(self) -> Projection:
        if not isinstance(self.net, Projection):
            raise TypeError("the network is not a projection")
        return self.net

    def _log_scale(self) -> torch.Tensor:
        scale: torch.Tensor = self.net.log_scale  # type: ignore[assignment]
        return scale


METHOD = Maml
