"""Prototypical networks as a training method."""

from __future__ import annotations

from app.methods.method import Method
from app.methods.params import EpisodicParams


class PrototypicalParams(EpisodicParams):
    """Prototypical networks (Snell et al. 2017): squared Euclidean distance to class means."""


METHOD = Method(
    PrototypicalParams,
    learns={"encoder": frozenset({"classification"})},
    trains="a projection of the features, in episodes",
    meant_for="several examples of each label",
    position=2,
)
