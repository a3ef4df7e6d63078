"""What a name means where other clients know only models: a trained model, a collection, or the default."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.collections.service import ClassifyRequest, ClassifyResult, Recognition
from app.http.names import collection_of, is_collection_name


async def choose_labels(
    recognition: Recognition, workspace: str, name: str | None, labels: Sequence[str] = ()
) -> ClassifyRequest:
    """The question to ask of images by a name: a trained model's labels, a collection's, or `labels` by an encoder.

    A model goes before a collection of the same name; `collection/<name>` means the collection whatever models there
    are. Without a name it is the default collection, or the default encoder for `labels`. Raises ModelNotFoundError.
    """
    if not name or labels:
        return ClassifyRequest(labels=tuple(labels), model=name or None)
    if (collection := collection_of(name)) is not None:
        return ClassifyRequest(collection=collection)
    if is_collection_name(name) and not await recognition.models.is_known(workspace, name):
        return ClassifyRequest(collection=name)
    await recognition.models.find(workspace, name)
    return ClassifyRequest(model=name)


def best_labels(answer: ClassifyResult, row: int, top_k: int | None) -> list[tuple[str, float]]:
    """Labels and scores of an image, the best first; all of them where `top_k` is None."""
    scores = answer.prediction.scores[row]
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [(answer.labels[index], float(scores[index])) for index in order]


def is_rejected(answer: ClassifyResult, row: int) -> bool:
    """Whether an image shows none of the labels, by the threshold."""
    return bool(answer.prediction.scores[row].max() < answer.threshold)
