"""Models as clients see them: those of the registry, and trained ones."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.families import FAMILIES
from app.families.changed import ADAPTER
from app.inference.engine.interface import Engine
from app.inference.model_info import ModelInfo
from app.inference.sources import HUB_ID, EncoderConfig, Kind
from app.jobs.spec import ModelCard
from app.models.schemas import Model, ModelOptimisation, TrainedFacts
from app.models.service import ModelRecord
from app.settings import Settings

_MIB = 1024 * 1024
_WHOLE = {"model.safetensors", "model.safetensors.index.json"}
_CARD_FACTS = {"method", "task", "labels", "strategy", "data", "settings", "seed", "metrics", "parameters"}
_CHANGED = "Its base model here is another version than the one it was trained over: train it again."


def is_whole(card: ModelCard) -> bool:
    """Whether the model needs no base beside it: all of the weights are its own."""
    return not _WHOLE.isdisjoint(card.files) and ADAPTER not in card.files


def list_known(registry: Engine) -> list[Model]:
    """Every model of the registry, the default first."""
    known = sorted(registry.list_models(), key=lambda info: (not info.default, info.name))
    return [describe_known(info) for info in known]


def describe_known(info: ModelInfo) -> Model:
    """A model that is not of a workspace."""
    return Model(
        id=info.name,
        kind=info.kind,
        tasks=None if info.tasks is None else list(info.tasks),
        family=info.family,
        # a folder of this machine is nobody's business but its own
        aliases=[alias for alias in info.aliases if HUB_ID.fullmatch(alias) and not Path(alias).exists()],
        default=info.default,
        knows=info.knows,
        loaded=info.live,
        optimisation=None if info.optimisation is None else ModelOptimisation(**asdict(info.optimisation)),
        **_in_memory(info),
    )


def _in_memory(info: ModelInfo | None) -> dict[str, Any]:
    """What is only known of a loaded model."""
    known = {name: getattr(info, name, None) for name in ("dim", "input_size", "runtime", "fingerprint")}
    memory = None if info is None else info.memory_bytes
    return {**known, "memory_mb": None if memory is None else round(memory / _MIB, 1)}


def describe(model: ModelRecord, settings: Settings, live: tuple[bool, ModelInfo | None]) -> Model:
    """A trained model beside the models that came with the service; `live` is what `TrainedModels.live` says.

    Blocks while its base is looked at.
    """
    card = model.card
    loaded, info = live
    kind: Kind = "vlm" if card.kind == "vlm" else "encoder"
    config = EncoderConfig.from_settings(settings)
    current = FAMILIES.base_fingerprint(kind, card.base_model, config)
    is_here = FAMILIES.base_of(kind, card.base_model, card.base_fingerprint, config) is not None
    changed = current is not None and not is_here
    note = _CHANGED if changed else None if current else "Its base model is not on this machine yet."
    if is_whole(card):  # its base was where it began, and is not needed any more
        changed, note = False, None
    return Model(
        id=card.id,
        created=int(model.created_at.timestamp()),
        owned_by="workspace",
        kind=card.kind,
        tasks=None if card.kind == "classifier" else [card.task],
        family=card.family,
        aliases=[],
        default=False,
        loaded=loaded,
        **_in_memory(info),
        trained=TrainedFacts(
            base_model=Path(card.base_model).name if Path(card.base_model).is_absolute() else card.base_model,
            job_id=model.job_id,
            **card.model_dump(include=_CARD_FACTS),
            comparison=card.comparison,
            size_mb=None if card.size_bytes is None else round(card.size_bytes / _MIB, 2),
            base_changed=changed,
            note=note,
            created_at=model.created_at,
        ),
    )
