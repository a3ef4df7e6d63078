"""`POST /classify`: the labels of an image."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import Field, ValidationInfo, field_validator

from app.access import Recogniser
from app.collections.coverage import PredictionSets
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError, EncoderMismatchError
from app.collections.schemas import (
    AnswerSet,
    AnswerSetWarning,
    Classification,
    Classifications,
    Score,
    Timing,
    to_hit,
)
from app.collections.service import ClassifyRequest, ClassifyResult
from app.http.disconnect import unless_disconnected
from app.http.fields import CommaSeparated, Form, at_most, settings_of
from app.http.names import label_name
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.inference.errors import BaseModelChangedError, ModelNotFoundError, ModelTaskError
from app.storage.database import DEFAULT_COLLECTION

router = APIRouter(tags=["recognition"])

DEFAULT_TOP_K = 5
MAX_NEIGHBOURS = 20


class ClassifyForm(Form):
    """Which labels to choose from, and how many scores to return."""

    collection: str | None = Field(
        None,
        description="Which labels to choose from.",
        json_schema_extra={"default": DEFAULT_COLLECTION},
    )
    labels: (
        Annotated[CommaSeparated, at_most(lambda settings: settings.limits.max_labels, "labels")] | None
    ) = Field(
        None,
        description="Choose from these instead, without any example; comma-separated, repeated, or a JSON list, whose"
        " items keep their commas.",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Least score to accept; by default calibrated by the collection, 0 accepts all.",
    )
    top_k: Annotated[int, at_most(lambda settings: settings.limits.max_labels)] = Field(
        DEFAULT_TOP_K, ge=1, description="Most scores in the answer."
    )
    coverage: float | None = Field(
        None,
        ge=0.5,
        le=0.999,
        description="Tell besides which labels hold the right one with this probability.",
    )
    neighbours: int = Field(
        0,
        ge=0,
        le=MAX_NEIGHBOURS,
        description="Tell besides this many of the collection's examples that look most like each image.",
    )
    model: str | None = Field(
        None,
        description="A trained classifier, with labels of its own; or the encoder that a collection is bound to.",
    )

    @field_validator("labels")
    @classmethod
    def _names_labels(cls, given: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if given is None:
            return None
        most = settings_of(info).limits.max_text_chars
        labels = list(dict.fromkeys(label_name(label, most, "labels") for label in given))
        if not labels:
            raise ValueError("they are empty")
        return labels


UPLOAD = UploadForm(ClassifyForm, images="several")


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
    openapi_extra=UPLOAD.openapi(),
)
async def classify(
    request: Request,
    caller: Recogniser,
    upload: Annotated[ReceivedForm[ClassifyForm], Depends(UPLOAD)],
    recognition: RecognitionService,
) -> Classification | Classifications:
    """Name what one image or several show: one answer, or a list in the same order."""
    form = upload.fields
    question = ClassifyRequest(
        form.collection,
        tuple(form.labels or ()),
        form.threshold,
        form.model,
        form.coverage,
        form.neighbours,
    )
    answer = await unless_disconnected(
        request, recognition.classify(caller.workspace, upload.images, question)
    )
    rows = [_classification(answer, row, form.top_k) for row in range(len(upload.images))]
    return rows[0] if len(rows) == 1 else Classifications(data=rows)


def _classification(answer: ClassifyResult, row: int, top_k: int) -> Classification:
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
        answer_set=None
        if answer.prediction_sets is None
        else _answer_set(answer.prediction_sets, labels, row),
        neighbours=None
        if answer.neighbours is None
        else [to_hit(answer.collection or "", *near) for near in answer.neighbours[row]],
    )


def _answer_set(prediction_sets: PredictionSets, labels: list[str], row: int) -> AnswerSet:
    return AnswerSet(
        coverage=prediction_sets.coverage,
        guarantee=prediction_sets.guarantee,
        labels=[labels[i] for i in prediction_sets.sets[row]],
        warnings=[AnswerSetWarning(**vars(warning)) for warning in prediction_sets.warnings],
    )
