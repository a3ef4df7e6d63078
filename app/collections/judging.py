"""What a collection says of an image that a person judges, and says now of vectors that it made before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.collections.directory import KnownCollection
from app.collections.errors import EmptyCollectionError
from app.collections.service import Recognition
from app.heads import Head, Prediction
from app.http.spool import Entry


@dataclass(frozen=True)
class Judgement:
    """What a collection's head says of images."""

    labels: list[str]
    prediction: Prediction
    threshold: float


@dataclass(frozen=True)
class JudgedImages:
    """Vectors float32[n, d] by the encoder `encoder`, and what the head says; None where nothing was taught."""

    encoder: str
    vectors: NDArray[np.float32]
    judgement: Judgement | None


async def judge_images(
    recognition: Recognition, known: KnownCollection, images: Sequence[Entry]
) -> JudgedImages:
    """Embed the images once and say what they show; raises as `Recognition.classify` does, but not for a collection
    that was taught nothing.
    """
    async with recognition.registry.encoder(known.encoder) as live:
        await recognition.renewal.check(known, live.key)
        embedded = await recognition.embedder.embed(known.workspace, live, images)
        try:
            head = await recognition.heads.head(known, live)
        except EmptyCollectionError:
            return JudgedImages(live.key, embedded.vectors, None)
    return JudgedImages(live.key, embedded.vectors, _judge(head, embedded.vectors))


async def judge_vectors(
    recognition: Recognition, known: KnownCollection, encoder: str, vectors: NDArray[np.float32]
) -> Judgement | None:
    """What the collection says now of float32[n, d] by an encoder; None where it is bound to another one by now.

    Raises EmptyCollectionError, and what loading an encoder raises.
    """
    async with recognition.registry.encoder(known.encoder) as live:
        if live.key != encoder:
            return None
        await recognition.renewal.check(known, live.key)
        head = await recognition.heads.head(known, live)
    return await asyncio.to_thread(_judge, head, vectors)


def _judge(head: Head, vectors: NDArray[np.float32]) -> Judgement:
    return Judgement(head.labels, head.predict(vectors), head.threshold)
