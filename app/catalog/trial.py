"""A model that was sent is asked once before it is kept, over its base where that is at hand.

Knows the registry and what an answer must be like; knows nothing of archives or of who sent it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from PIL import Image

from app.catalog.trained import is_whole
from app.errors import InvalidInputError, ModelNotFoundError, ModelUnavailableError
from app.inference.base_fingerprint import base_fingerprint
from app.inference.encoders.source import EncoderConfig
from app.inference.registry import ModelRegistry
from app.recognition.trained import TrainedClassifier
from app.settings import Settings
from app.training.spec import ModelCard

_FAINT = 0.5
"""An encoder's vectors have length one; those that could not be computed have none."""


async def tried(folder: Path, card: ModelCard, registry: ModelRegistry, settings: Settings) -> None:
    """Load the model and use it once; nothing of it stays in memory.

    One whose base is not on this machine, or is another version there, is left untried. Raises InvalidInputError
    for a model that does not load, does not fit its base or computes no numbers; OutOfMemoryError, OverloadedError.
    """
    current = await asyncio.to_thread(
        base_fingerprint, card.base_model, EncoderConfig.from_settings(settings), vlm=card.kind == "vlm"
    )
    if not is_whole(card) and (current is None or card.base_fingerprint not in (None, current)):
        return
    try:
        if card.kind == "vlm":
            async with registry.vlm(str(folder)) as answering:
                able = answering.tasks
            if card.task not in able:
                raise InvalidInputError(f"vision.json: task: the model does {' and '.join(sorted(able))}.")
        else:
            await _classified(folder, registry, settings)
    except (ModelNotFoundError, ModelUnavailableError) as error:
        raise InvalidInputError(f"The model cannot be used: {error.detail}", **error.context) from None
    finally:
        await registry.forget(str(folder))


async def _classified(folder: Path, registry: ModelRegistry, settings: Settings) -> None:
    classifier = await asyncio.to_thread(TrainedClassifier.load, folder)
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    image = Image.fromarray(pixels)
    async with registry.encoder(str(folder) if classifier.adapted else classifier.base_model) as live:
        if live.encoder.dim != classifier.note.dim:
            raise InvalidInputError(
                f"vision.json: dim: the encoder's vectors have {live.encoder.dim} numbers, not {classifier.note.dim}."
            )
        vectors = np.concatenate(
            [
                await live.embed_images([lambda: image], deadline_s=settings.deadline_s),
                await live.embed_texts(["a photo"], deadline_s=settings.deadline_s),
            ]
        )
    if not np.all(np.linalg.norm(vectors, axis=1) > _FAINT):  # also where they are no numbers
        raise InvalidInputError(
            "The model's encoder computes no numbers: its weights are too large or damaged."
        )
