"""Siamese networks on an encoder's features: like examples are drawn together, others apart.

Pairs (contrastive loss, Hadsell et al. 2006) or triplets with semi-hard negatives (Schroff et al. 2015); an image is
then classified by the nearest class mean.
"""

from __future__ import annotations

import numpy as np
import torch

from workers.methods.common.on_features import FeatureMethod

_MARGINS = {"triplet": 0.3, "contrastive": 1.0}


class Siamese(FeatureMethod):
    """See `workers.shared.method.TrainingMethod`."""

    def loss(self, step: int) -> torch.Tensor:
        """Of a batch with several views a label."""
        rows = self._rows()
        y = torch.from_numpy(self.y[rows]).to(self.device)
        z = self.net(self.draw_views(rows))
        # the root has no gradient at 0, where an example meets itself
        distances = (z[:, None] - z[None]).square().sum(dim=-1).clamp(min=1e-12).sqrt()
        same = y[:, None] == y[None]
        margin = self.params.margin or _MARGINS[self.params.loss]
        if self.params.loss == "contrastive":
            return contrastive(distances, same, margin)
        return semi_hard(distances, same, margin)

    def _rows(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """int64[b]: as many of each label, two at least; an example comes twice only where its label has too few."""
        present = np.unique(self.y)
        ways = min(len(present), max(self.params.batch_size // 2, 2))
        views = max(self.params.batch_size // ways, 2)
        parts = []
        for label in np.sort(self.rng.choice(present, ways, replace=False)):
            own = np.flatnonzero(self.y == label)
            parts.append(self.rng.choice(own, views, replace=len(own) < views))
        return np.concatenate(parts)


def contrastive(distances: torch.Tensor, same: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean over like pairs of d² plus mean over unlike pairs of max(0, margin - d)², halved (Hadsell, equation 4,
    with both kinds of pairs weighing the same); distances float[b, b], same bool[b, b].
    """
    other = ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    near = distances[same & other].square().mean()
    far = (margin - distances[~same]).clamp(min=0).square().mean()
    return 0.5 * (near + far)


def semi_hard(distances: torch.Tensor, same: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean of max(0, d(a, p)² - d(a, n)² + margin) over all like pairs; n is the nearest unlike example that is
    farther than p, or the farthest where none is (Schroff et al. 2015, section 3.2).
    """
    other = ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    anchors, positives = torch.nonzero(same & other, as_tuple=True)
    d = distances.square()
    to_positive = d[anchors, positives]
    to_others = d[anchors]
    unlike = ~same[anchors]
    beyond = unlike & (to_others > to_positive[:, None])
    nearest = to_others.masked_fill(~beyond, torch.inf).min(dim=1).values
    farthest = to_others.masked_fill(~unlike, -torch.inf).max(dim=1).values
    to_negative = torch.where(beyond.any(dim=1), nearest, farthest)
    return (to_positive - to_negative + margin).clamp(min=0).mean()


METHOD = Siamese
