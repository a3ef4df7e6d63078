"""An uploaded model is used once before it is kept: in a bounded child, over its base where that is at hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from app.bounded import ChildLimits, run_bounded_async
from app.bounded.runner import MAX_THREADS
from app.errors import InvalidInputError, VisionError
from app.families import FAMILIES
from app.inference import device as devices
from app.inference.engine.interface import Engine
from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.sources import EncoderConfig, Kind
from app.models.describing import is_whole
from app.models.uploads import UploadedModel
from app.settings import Settings
from app.storage.archives import check_limits

_MEMORY_FACTOR = 4
"""Bytes a byte of weights may take: half precision becomes float32, and is there twice while it is converted."""


_MEMORY_SHARE = 0.5
"""Of the machine's memory, for all trials at the same time: the rest is for the models that it serves."""

log = structlog.get_logger("app.models")


async def try_model(model: UploadedModel, registry: Engine, settings: Settings) -> None:
    """Load the model and use it once, on the CPU.

    One whose base is not on this machine, or is another version there, is looked at but left unused, and so is one that
    would take more than half of the machine's memory. Raises InvalidInputError for a model that does not load, does not
    fit its base or computes no numbers; CheckLimitError where that takes more than the settings allow; OverloadedError.
    """
    card = model.card
    config = EncoderConfig.from_settings(settings)
    kind: Kind = "vlm" if card.kind == "vlm" else "encoder"
    base = await asyncio.to_thread(FAMILIES.base_of, kind, card.base_model, card.base_fingerprint, config)
    is_usable = is_whole(card) or base is not None
    if not model.is_changed:
        if is_usable:
            await _check_dim(model, base or model.card.base_model, registry)
        return
    base_bytes = 0
    if is_usable and not is_whole(card):
        base_bytes = await asyncio.to_thread(_base_bytes, card.base_model, config, vlm=card.kind == "vlm")
    limits = _limits(settings, model.folder, base_bytes)
    if (
        is_usable
        and limits.memory_bytes * settings.uploads.upload_checks > _MEMORY_SHARE * devices.host_memory_bytes()
    ):
        log.warning(
            "an uploaded model is too large to be tried here", model=card.id, limit=limits.memory_bytes
        )
        is_usable, limits = False, _limits(settings, model.folder, 0)
    await run_bounded_async(
        "app.models.trial_child:try_request",
        {
            "folder": str(model.folder),
            "kind": card.kind,
            "task": card.task,
            "dim": model.dim,
            "is_usable": is_usable,
            "question_chars": settings.answers.max_question_chars,
            "config": _encode(config),
        },
        limits,
        most=settings.uploads.upload_checks,
        doing="Trying the model",
    )


async def _check_dim(model: UploadedModel, base: str, registry: Engine) -> None:
    """A head's features are as long as those of its base, which is nobody's upload."""
    try:
        async with registry.encoder(base) as live:
            dim = live.dim
    except (ModelNotFoundError, ModelUnavailableError) as error:
        raise InvalidInputError(f"The model cannot be used: {error.detail}", **error.context) from None
    if dim != model.dim:
        raise InvalidInputError(
            f"vision.json: dim: the encoder's vectors have {dim} numbers, not {model.dim}."
        )


def _encode(config: EncoderConfig) -> dict[str, Any]:
    """The configuration for a child that uses the CPU, writes no cache of its own and fetches nothing."""
    offline = replace(
        config,
        device="cpu",
        threads=min(MAX_THREADS, devices.threads(config.threads)),
        cpu_runtime="torch",
        int8=False,
        allow_downloads=False,
        optimisation="none",
        optimisations={},
    )
    return {**vars(offline), "cache_dir": str(offline.cache_dir)}


def _base_bytes(word: str, config: EncoderConfig, *, vlm: bool) -> int:
    try:
        kind: Kind = "vlm" if vlm else "encoder"
        located = FAMILIES.locate(kind, FAMILIES.resolve(kind, word), replace(config, allow_downloads=False))
        return _weight_bytes(Path(located.location)) if located.location else 0
    except VisionError:
        return 0


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _limits(settings: Settings, folder: Path, base_bytes: int) -> ChildLimits:
    size = _weight_bytes(folder) + base_bytes
    limits = check_limits(settings, size)
    return replace(limits, memory_bytes=limits.memory_bytes + _MEMORY_FACTOR * size)
