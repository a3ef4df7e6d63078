"""The model `collection/<name>`: a chat whose answer is the label of the latest image."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.answers.service import AskResult
from app.collections.service import ClassifyResult
from app.inference import prompts

NO_LABEL = "none of these"
_MAX_SCORES = 5


def label_answer(answer: ClassifyResult, *, as_json: bool) -> AskResult:
    """What a collection says of the one image as if a model had said it; the label counts as one token."""
    said = prompts.Answer(
        _write_label(answer, as_json=as_json), prompt_tokens=1, completion_tokens=1, finish_reason="stop"
    )
    return AskResult(said, answer.model, (), answer.decode_ms, 0.0, answer.score_ms, answer.total_ms)


def _write_label(answer: ClassifyResult, *, as_json: bool) -> str:
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
