"""The models of the registry as clients see them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from app.inference.model_info import ModelInfo
from app.inference.registry import ModelRegistry
from app.inference.sources import HUB_ID
from app.models.schemas import Model, ModelOptimisation

_MIB = 1024 * 1024


def models(registry: ModelRegistry) -> list[Model]:
    """Every model, the default first."""
    known = sorted(registry.known(), key=lambda info: (not info.default, info.name))
    return [describe_known(info) for info in known]


def describe_known(info: ModelInfo) -> Model:
    """A model that is not of a workspace."""
    return Model(
        id=info.name,
        kind=info.kind,
        tasks=None if info.tasks is None else list(info.tasks),
        family=info.family,
        # a folder of this machine is nobody's business but its own
        aliases=[one for one in info.aliases if HUB_ID.fullmatch(one) and not Path(one).exists()],
        default=info.default,
        knows=info.knows,
        loaded=info.live,
        dim=info.dim,
        input_size=info.input_size,
        memory_mb=None if info.memory_bytes is None else round(info.memory_bytes / _MIB, 1),
        runtime=info.runtime,
        fingerprint=info.fingerprint,
        optimisation=None if info.optimisation is None else ModelOptimisation(**asdict(info.optimisation)),
    )
