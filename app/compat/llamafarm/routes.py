"""`/v1/vision/classify` and `/v1/vision/embed`, as LlamaFarm's server and its Designer call them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field

from app.access import Recogniser
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError
from app.compat.choosing import best_labels, choose_labels
from app.compat.reading import Body, check_labels, check_texts, describe_body, read_body, read_images
from app.errors import BadRequestError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.errors import ImageUrlNotFetchedError
from app.http.fields import FIRST_WRONG
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError, ModelTaskError

_ALIASES = {
    "clip-vit-base": "openai/clip-vit-base-patch32",
    "clip-vit-large": "openai/clip-vit-large-patch14",
    "siglip-base": "google/siglip-base-patch16-224",
    "siglip-large": "google/siglip-large-patch16-256",
}
"""What LlamaFarm calls hub models."""
NONE = "none"

router = APIRouter(prefix="/vision", tags=["other clients"])
_ERRORS = responses(
    ModelNotFoundError,
    CollectionNotFoundError,
    EmptyCollectionError,
    ModelTaskError,
    ImageUrlNotFetchedError,
    *UPLOAD_ERRORS,
)


class ClassifyBody(Body):
    """`POST /v1/vision/classify`."""

    image: str = Field(description="Base64, or a data: URI.")
    model: str | None = Field(
        None,
        description="With `classes` an encoder; else a trained model or a collection. The service's default if empty.",
    )
    classes: Annotated[list[str], FIRST_WRONG] | None = Field(
        None, description="Labels to choose from; empty: those of the model."
    )
    top_k: int = Field(5, ge=1, le=100, description="Most scores in `all_scores`.")
    include_none: bool = Field(
        False,
        description=f"Add the share of none of them to `all_scores` as `{NONE}`; as `{NONE}_of_these` where a label is"
        " called that.",
    )


class EmbedBody(Body):
    """`POST /v1/vision/embed`."""

    model: str | None = None
    images: Annotated[list[str], FIRST_WRONG] | None = None
    texts: Annotated[list[str], FIRST_WRONG] | None = None


@router.post("/classify", responses=_ERRORS, openapi_extra=describe_body(ClassifyBody))
async def classify(
    request: Request, caller: Recogniser, settings: AppSettings, recognition: RecognitionService
) -> dict[str, Any]:
    """Name what an image shows, in the words of LlamaFarm's runtime."""
    began = time.perf_counter()
    body = await read_body(request, ClassifyBody)
    labels = check_labels(body.classes, "classes", settings) if body.classes else []
    [image] = await read_images(request, [body.image], "image")
    model = _ALIASES.get(body.model or "", body.model)
    if not labels and body.model in _ALIASES:
        model = None  # an encoder knows no labels: those of the default collection are meant
    question = await choose_labels(recognition, caller.workspace, model, labels)
    answer = await unless_disconnected(request, recognition.classify(caller.workspace, [image], question))
    best = best_labels(answer, 0, body.top_k)
    label, score = best[0]
    scores = dict(best)
    if body.include_none:
        scores[_name_none(answer.labels)] = float(answer.prediction.none[0])
    return {
        "class_name": label,
        "class_id": [name.strip() for name in body.classes or answer.labels].index(label.strip()),
        "confidence": score,
        "all_scores": scores,
        "model": body.model or answer.model,
        "inference_time_ms": round(1e3 * (time.perf_counter() - began), 3),
    }


@router.post("/embed", responses=_ERRORS, openapi_extra=describe_body(EmbedBody))
async def embed(
    request: Request, caller: Recogniser, settings: AppSettings, recognition: RecognitionService
) -> dict[str, Any]:
    """Turn images and texts into unit vectors, images first."""
    began = time.perf_counter()
    body = await read_body(request, EmbedBody)
    if not body.images and not body.texts:
        raise BadRequestError("images, texts: send at least one image or text.", param="images")
    if body.texts:
        check_texts(body.texts, "texts", settings)
    images = await read_images(request, body.images or [], "images")
    model = _ALIASES.get(body.model or "", body.model)
    work = recognition.embed(caller.workspace, images, body.texts or [], model or None)
    vectors, name = await unless_disconnected(request, work)
    return {
        "embeddings": np.asarray(vectors).tolist(),
        "model": body.model or name,
        "dimensions": int(vectors.shape[1]),
        "inference_time_ms": round(1e3 * (time.perf_counter() - began), 3),
    }


def _name_none(labels: Sequence[str]) -> str:
    """What stands for none of the labels, none of which is called so."""
    name = NONE
    while name in labels:
        name += "_of_these"
    return name
