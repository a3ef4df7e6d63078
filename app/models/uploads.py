"""A model that comes in as an archive: unpacked, checked and tried in processes of their own before it is kept.

Works with paths and cards; no file of the archive is parsed here.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from app.bounded import ChildLimits, run_bounded_async
from app.errors import InvalidInputError
from app.http.names import MODEL_NAME
from app.inference.sources import HUB_ID, EncoderConfig
from app.jobs.spec import ModelCard
from app.models.describing import is_whole
from app.models.model_checks.requests import CheckedModel, CheckRequest
from app.models.resolver import ModelResolver
from app.settings import Settings
from app.storage.archive_entries import ArchiveLimits
from app.storage.archives import check_limits

_MIB = 1024 * 1024
MAX_FILES = 200
_HEAD_MEMORY_FACTOR = 3


@dataclass(frozen=True)
class UploadedModel:
    """A model whose files were found to be in order."""

    folder: Path
    """Its name is the model's."""
    card: ModelCard
    is_changed: bool
    """Whether it has weights of its own below a classifier's head."""
    dim: int | None
    """Length of a classifier's features."""


async def check_upload(archive: Path, settings: Settings) -> UploadedModel:
    """The uploaded model in a folder of its own; `discard` removes it. Nothing stays where this raises.

    Raises ArchiveError, ArchiveTooLargeError, InvalidInputError naming what is wrong, CheckLimitError where finding
    out takes more than the settings allow, OverloadedError where too many are checked at once.
    """
    place = EncoderConfig.from_settings(settings).trained_dir / f".upload-{uuid.uuid4()}"
    limits = ArchiveLimits.from_settings(settings)
    request = CheckRequest(
        archive=archive,
        folder=place / "model",
        entries=MAX_FILES,
        ratio=limits.ratio,
        unpacked_bytes=limits.unpacked_bytes,
        min_free_mb=limits.min_free_mb,
        max_labels=settings.uploads.max_model_labels,
        max_label_chars=settings.limits.max_text_chars,
        max_head_bytes=settings.uploads.max_head_mb * _MIB,
    )
    size = await asyncio.to_thread(lambda: archive.stat().st_size)
    await asyncio.to_thread(place.mkdir, parents=True, mode=0o700)
    try:
        found = await run_bounded_async(
            "app.models.model_checks.checking:check_request",
            request.model_dump(mode="json"),
            _limits(settings, size),
            most=settings.uploads.upload_checks,
            doing="Checking the model",
        )
        checked = CheckedModel.model_validate(found)
        card = ModelCard(**checked.note, data={"source": "uploaded"})
        named = place / "named" / card.id  # models go by the name of their folder
        named.parent.mkdir()
        checked.folder.rename(named)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return UploadedModel(named, card, checked.is_changed, checked.dim)


def _limits(settings: Settings, size_bytes: int) -> ChildLimits:
    """Also what a classifier's head takes, which is loaded and fitted once."""
    limits = check_limits(settings, size_bytes)
    head_bytes = min(size_bytes, settings.uploads.max_head_mb * _MIB)
    return replace(limits, memory_bytes=limits.memory_bytes + _HEAD_MEMORY_FACTOR * head_bytes)


def discard(model: UploadedModel) -> None:
    """Remove what `check_upload` made."""
    shutil.rmtree(model.folder.parent.parent, ignore_errors=True)


def check_base(card: ModelCard, models: ModelResolver) -> None:
    """Raise InvalidInputError unless the base is a model that this service knows: never a folder of this machine.

    Of a model that is whole it need only be a model's name.
    """
    known = models.match(card.base_model, "vlm" if card.kind == "vlm" else "encoder")
    named = re.fullmatch(MODEL_NAME, card.base_model) or HUB_ID.fullmatch(card.base_model)
    if known is None and not (card.kind == "vlm" and is_whole(card) and named):
        raise InvalidInputError(f"vision.json: base_model '{card.base_model[:100]}' is not known here.")
