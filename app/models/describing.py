"""Trained models as clients see them.

Knows cards and bases; knows nothing of HTTP or of how models answer.
"""

from __future__ import annotations

from pathlib import Path

from app.families.base_fingerprint import base_fingerprint
from app.families.vlm_source import ADAPTER
from app.inference.model_info import ModelInfo
from app.inference.sources import EncoderConfig
from app.jobs.spec import ModelCard
from app.models.schemas import Model, TrainedFacts
from app.models.service import Trained
from app.settings import Settings

_MIB = 1024 * 1024
_WHOLE = {"model.safetensors", "model.safetensors.index.json"}
_CHANGED = "Its base model here is another version than the one it was trained over: train it again."


def is_whole(card: ModelCard) -> bool:
    """Whether the model needs no base beside it: all of the weights are its own."""
    return not _WHOLE.isdisjoint(card.files) and ADAPTER not in card.files


def described(one: Trained, settings: Settings, live: tuple[bool, ModelInfo | None]) -> Model:
    """A trained model beside the models that came with the service; `live` is what `TrainedModels.live` says.

    Blocks while its base is looked at.
    """
    card = one.card
    loaded, info = live
    current = base_fingerprint(card.base_model, EncoderConfig.from_settings(settings), vlm=card.kind == "vlm")
    changed = None not in (current, card.base_fingerprint) and current != card.base_fingerprint
    note = _CHANGED if changed else None if current else "Its base model is not on this machine yet."
    if is_whole(card):  # its base was where it began, and is not needed any more
        changed, note = False, None
    memory = None if info is None else info.memory_bytes
    return Model(
        id=card.id,
        kind=card.kind,
        tasks=None if card.kind == "classifier" else [card.task],
        family=card.family,
        aliases=[],
        default=False,
        loaded=loaded,
        dim=None if info is None else info.dim,
        input_size=None if info is None else info.input_size,
        memory_mb=None if memory is None else round(memory / _MIB, 1),
        runtime=None if info is None else info.runtime,
        fingerprint=None if info is None else info.fingerprint,
        trained=TrainedFacts(
            base_model=Path(card.base_model).name if Path(card.base_model).is_absolute() else card.base_model,
            method=card.method,
            task=card.task,
            labels=card.labels,
            strategy=card.strategy,
            job_id=one.job_id,
            data=card.data,
            settings=card.settings,
            seed=card.seed,
            metrics=card.metrics,
            comparison=card.comparison,
            parameters=card.parameters,
            size_mb=None if card.size_bytes is None else round(card.size_bytes / _MIB, 2),
            base_changed=changed,
            note=note,
            created_at=one.created_at,
        ),
    )
