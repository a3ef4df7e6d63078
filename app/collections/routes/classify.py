"""`POST /classify`: an image and get its label.

Knows the fields and their bounds; knows nothing of encoders or heads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from app.collections.dependencies import UPLOAD_ERRORS, Recogniser, RecognitionService, Uploaded
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError, EncoderMismatchError
from app.collections.schemas import Classification, Classifications, Score, Timing
from app.collections.service import Answer, Question
from app.errors import InvalidInputError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.forms import Upload
from app.http.names import label_name
from app.http.openapi import upload_body
from app.http.problems import responses
from app.inference.errors import BaseModelChangedError, ModelNotFoundError, ModelTaskError
from app.settings import Settings
from app.storage.database import DEFAULT_COLLECTION

router = APIRouter(tags=["recognition"])

_USUAL_TOP_K = 5
_FIELDS: dict[str, dict[str, Any]] = {
    "collection": {
        "type": "string",
        "default": DEFAULT_COLLECTION,
        "description": "Which labels to choose from.",
    },
    "labels": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Choose from these instead, without any example; comma-separated or repeated.",
    },
    "threshold": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Least score to accept; by default calibrated by the collection, 0 accepts all.",
    },
    "top_k": {
        "type": "integer",
        "minimum": 1,
        "default": _USUAL_TOP_K,
        "description": "Most scores in the answer.",
    },
    "model": {
        "type": "string",
        "description": "A trained classifier, with labels of its own; or the encoder that a collection is bound to.",
    },
}


@router.post(
    "/classify",
    responses=responses(
        CollectionNotFoundError,
        ModelNotFoundError,
        EmptyCollectionError,
        EncoderMismatchError,
        BaseModelChangedError,
        ModelTaskError,
        *UPLOAD_ERRORS,
    ),
    openapi_extra=upload_body(_FIELDS),
)
async def classify(
    request: Request,
    caller: Recogniser,
    upload: Uploaded,
    settings: AppSettings,
    recognition: RecognitionService,
) -> Classification | Classifications:
    """Name what one image or several show: one answer, or a list in the same order."""
    upload.only(*_FIELDS)
    if not upload.images:
        raise InvalidInputError("image: send at least one.")
    question, top_k = _question(upload, settings), _top_k(upload, settings)
    answer = await unless_disconnected(
        request, recognition.classify(caller.workspace, upload.images, question)
    )
    rows = [_classification(answer, row, top_k) for row in range(len(upload.images))]
    return rows[0] if len(rows) == 1 else Classifications(data=rows)


def _question(upload: Upload, settings: Settings) -> Question:
    threshold = upload.number("threshold")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidInputError("threshold: it lies between 0 and 1.")
    given = upload.texts("labels", commas=True)
    if len(given) > settings.max_labels:
        raise InvalidInputError(f"labels: at most {settings.max_labels}.")
    labels = dict.fromkeys(label_name(one, settings.max_text_chars, "labels") for one in given)
    if "labels" in upload.fields and not labels:
        raise InvalidInputError("labels: they are empty.")
    return Question(
        collection=upload.text("collection"),
        labels=tuple(labels),
        threshold=threshold,
        model=upload.text("model"),
    )


def _top_k(upload: Upload, settings: Settings) -> int:
    top_k = upload.whole("top_k")
    if top_k is not None and not 1 <= top_k <= settings.max_labels:
        raise InvalidInputError(f"top_k: it lies between 1 and {settings.max_labels}.")
    return top_k or _USUAL_TOP_K


def _classification(answer: Answer, row: int, top_k: int) -> Classification:
    scores, near = answer.prediction.scores[row], answer.prediction.similarity
    order = np.argsort(-scores, kind="stable")[:top_k]
    best = order[0]
    rejected = bool(scores[best] < answer.threshold)
    labels = answer.labels
    return Classification(
        label=None if rejected else labels[best],
        scores=[
            Score(
                label=labels[i],
                score=float(scores[i]),
                similarity=None if near is None else float(near[row, i]),
            )
            for i in order
        ],
        rejected=rejected,
        none=float(answer.prediction.none[row]),
        model=answer.model,
        collection=answer.collection,
        timing_ms=Timing(
            decode=round(answer.decode_ms, 3),
            embed=round(answer.embed_ms, 3),
            score=round(answer.score_ms, 3),
            total=round(answer.total_ms, 3),
        ),
    )
