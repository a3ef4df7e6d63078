"""The model `collection/<name>`: a chat whose answer is the label of the latest image."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.collections.service import Answer

PREFIX = "collection/"
NO_LABEL = "none of these"
_MAX_SCORES = 5


def collection_of(model: str | None) -> str | None:
    """The collection that a model's name means; None for a model."""
    return model[len(PREFIX) :] if model and model.startswith(PREFIX) else None


def label_text(answer: Answer, *, as_json: bool) -> str:
    """The label or `none of these`; as JSON with scores, as `POST /v1/classify` says it."""
    scores = answer.prediction.scores[0]
    order = np.argsort(-scores, kind="stable")[:_MAX_SCORES]
    best = order[0]
    rejected = bool(scores[best] < answer.threshold)
    label = None if rejected else answer.labels[best]
    if not as_json:
        return label or NO_LABEL
    found: dict[str, Any] = {
        "label": label,
        "rejected": rejected,
        "none": float(answer.prediction.none[0]),
        "scores": [{"label": answer.labels[index], "score": float(scores[index])} for index in order],
    }
    return json.dumps(found, ensure_ascii=False)
