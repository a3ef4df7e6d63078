"""`POST /embeddings`: images and texts to vectors, in the shape that OpenAI's clients read."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray

from app.access import Recogniser
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.routes.embedding_dialects import Encoding, check_dimensions
from app.collections.routes.embedding_input import IMAGES_PATH, Received, request_body
from app.collections.schemas import Embedding, EmbeddingList, Usage
from app.http.disconnect import unless_disconnected
from app.http.problems import responses
from app.inference.errors import BaseModelChangedError, ModelNotFoundError, ModelTaskError

router = APIRouter(tags=["recognition"])
root_router = APIRouter(include_in_schema=False)
"""The same without a prefix, where infinity's clients look for it."""


@root_router.post("/embeddings")
@root_router.post(IMAGES_PATH)
@router.post(
    "/embeddings",
    responses=responses(ModelNotFoundError, BaseModelChangedError, ModelTaskError, *UPLOAD_ERRORS),
    openapi_extra=request_body(),
)
async def embeddings(
    request: Request, caller: Recogniser, inputs: Received, recognition: RecognitionService
) -> EmbeddingList:
    """Turn images and texts into unit vectors of one space, in the order of the inputs."""
    vectors, model = await unless_disconnected(
        request,
        recognition.embed(caller.workspace, inputs.images, inputs.texts, inputs.model),
    )
    check_dimensions(inputs.dimensions, vectors.shape[1])
    count = len(inputs.order)
    return EmbeddingList(
        data=[
            Embedding(index=index, embedding=_encode_vector(vectors[place], inputs.encoding))
            for index, place in enumerate(inputs.order)
        ],
        model=model,
        usage=Usage(prompt_tokens=count, total_tokens=count),
    )


def _encode_vector(vector: NDArray[np.float32], encoding: Encoding) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
