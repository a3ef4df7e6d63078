"""Prototypical networks (Snell et al. 2017) on an encoder's features."""

from __future__ import annotations

import torch
from torch import nn

from workers.methods.common.episodes import Episodes
from workers.methods.common.on_features import FeatureMethod

_SCALE = 10.0


class Prototypical(FeatureMethod):
    """See `workers.shared.method.TrainingMethod`."""

    def build(self) -> nn.Module:
        """A projection, and the scale of its distances, which learns along."""
        self.episodes = Episodes(self.y, self.params, self.rng)
        net = super().build()
        net.log_scale = nn.Parameter(torch.tensor(_SCALE).log())
        return net

    def loss(self, step: int) -> torch.Tensor:
        """Equations 2 and 3: cross-entropy of the softmax over negative squared distances to the prototypes.

        Each example shows one of its copies, drawn anew.
        """
        episode = self.episodes.draw()
        supports, queries = self.draw_views(episode.supports), self.draw_views(episode.queries)
        prototypes = self.net(supports.flatten(0, 1)).unflatten(0, supports.shape[:2]).mean(dim=1)
        embedded = self.net(queries.flatten(0, 1))
        distances = (embedded[:, None] - prototypes[None]).square().sum(dim=-1)
        truth = torch.arange(len(episode.ways), device=self.device).repeat_interleave(queries.shape[1])
        scale: torch.Tensor = self.net.log_scale.exp()  # type: ignore[operator]
        return nn.functional.cross_entropy(-scale * distances, truth)


METHOD = Prototypical
