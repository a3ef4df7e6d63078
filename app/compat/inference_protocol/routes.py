"""`/v2`: server, models and inference of the Open Inference Protocol (KServe, tritonclient.http)."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from app.access import Recogniser
from app.collections.dependencies import RecognitionService
from app.collections.service import ClassifyRequest, ClassifyResult, Recognition
from app.compat.choosing import choose_labels
from app.compat.errors import FieldNotSupportedError
from app.compat.inference_protocol.tensors import (
    HEADER_LENGTH,
    InferBody,
    Tensor,
    inflate,
    read_images,
    read_request,
    write_reply,
)
from app.compat.reading import keep_images
from app.errors import BadRequestError
from app.http.dependencies import AppSettings, UploadSpool
from app.http.disconnect import unless_disconnected
from app.http.names import COLLECTION_MODEL
from app.http.spool import Entry
from app.inference.errors import ModelNotFoundError
from app.models.service import ModelRecord
from app.settings import Settings

PREFIX = "/v2"
_MIB = 1024 * 1024
_OUTPUTS = ("label", "score", "rejected", "embedding")
_DEFAULT_TOP_K = 1

router = APIRouter(prefix=PREFIX, tags=["other clients"])
ModelPath = Annotated[str, Path(max_length=200, description="A trained model, an encoder or a collection.")]


@router.get("")
async def describe_server(caller: Recogniser) -> dict[str, Any]:
    """What answers here."""
    return {
        "name": "llamafarm-vision",
        "version": version("llamafarm-vision"),
        "extensions": ["binary_tensor_data"],
    }


@router.get("/health/live")
async def check_live(caller: Recogniser) -> dict[str, bool]:
    """Whether the service answers."""
    return {"live": True}


@router.get("/health/ready")
async def check_ready(caller: Recogniser, recognition: RecognitionService) -> dict[str, bool]:
    """Whether the service can be asked; a model is loaded when it is asked for."""
    await recognition.ensure_default(caller.workspace)
    return {"ready": True}


@router.get("/models/{model:path}/ready")
@router.get("/models/{model:path}/versions/{number}/ready", include_in_schema=False)
async def check_model(
    caller: Recogniser, model: ModelPath, recognition: RecognitionService
) -> dict[str, Any]:
    """Whether there is such a model, which is loaded when it is asked for."""
    await _find(recognition, caller.workspace, model)
    return {"name": model, "ready": True}


@router.post("/models/{model:path}/infer")
@router.post("/models/{model:path}/versions/{number}/infer", include_in_schema=False)
async def infer(
    request: Request,
    caller: Recogniser,
    model: ModelPath,
    settings: AppSettings,
    spool: UploadSpool,
    recognition: RecognitionService,
) -> Response:
    """Labels with scores, and vectors, of a batch of images; in JSON or with binary tensors."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    data, length = await request.body(), request.headers.get(HEADER_LENGTH)
    asked, images = await asyncio.to_thread(_read, data, encoding, length, settings)
    wanted = _choose_outputs(asked)
    entries = await keep_images(request, images, settings, spool)
    work = _run(recognition, caller.workspace, model, entries, asked, wanted)
    tensors = await unless_disconnected(request, work)
    head = {"model_name": model, "model_version": "1", **({"id": asked.id} if asked.id else {})}
    content, headers = write_reply(head, tensors, binary=_is_binary(asked))
    return Response(content, headers=headers)


def _read(
    data: bytes, encoding: str, header_length: str | None, settings: Settings
) -> tuple[InferBody, list[bytes]]:
    """The request and its images' bytes; raises what `inflate`, `read_request` and `read_images` raise. Blocks."""
    body = inflate(data, encoding, settings.limits.max_body_mb * _MIB)
    asked, raw = read_request(body, header_length, settings)
    return asked, read_images(asked, raw, settings.limits.max_images)


@router.get("/models/{model:path}")
@router.get("/models/{model:path}/versions/{number}", include_in_schema=False)
async def describe_model(
    caller: Recogniser, model: ModelPath, recognition: RecognitionService
) -> dict[str, Any]:
    """What a model takes and gives."""
    _, has_labels, dim = await _find(recognition, caller.workspace, model)
    labels = [
        {"name": "label", "datatype": "BYTES", "shape": [-1, -1]},
        {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "rejected", "datatype": "BOOL", "shape": [-1, 1]},
    ]
    return {
        "name": model,
        "versions": ["1"],
        "platform": "llamafarm_vision",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            *(labels if has_labels else []),
            {"name": "embedding", "datatype": "FP32", "shape": [-1, dim]},
        ],
    }


@router.api_route("/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
async def refuse(caller: Recogniser, rest: str) -> JSONResponse:
    """Shared memory, statistics, repository control and traces are not offered."""
    return JSONResponse({"error": f"/v2/{rest[:80]} is not offered here."}, 404)


async def _find(recognition: Recognition, workspace: str, model: str) -> tuple[ClassifyRequest, bool, int]:
    """What it asks of images, whether it names labels, and the length of its vectors, -1 where only loading tells."""
    question = await choose_labels(recognition, workspace, model)
    if question.collection is not None:
        await recognition.resolve_collection(workspace, question.collection)
        return question, True, -1
    found = await recognition.models.find(workspace, model)
    if isinstance(found, ModelRecord):
        return question, found.card.kind == "classifier", -1
    if found.kind != "encoder":
        raise ModelNotFoundError(f"'{model}' answers questions: ask it by `POST /v1/chat/completions`.")
    return question, False, found.dim or -1


def _choose_outputs(asked: InferBody) -> tuple[str, ...]:
    """The outputs that are asked for; labels and scores where none is named."""
    names = tuple(dict.fromkeys(output.name for output in asked.outputs))  # each once, however often
    unknown = [name for name in names if name not in _OUTPUTS]
    if unknown:
        raise BadRequestError(f"outputs: there are {', '.join(_OUTPUTS)}.", param="outputs")
    if any(output.parameters.classification for output in asked.outputs):
        raise FieldNotSupportedError(
            "outputs: `classification` is not offered; `label` and `score` come sorted, `top_k` says how many.",
            param="outputs",
        )
    return names


def _is_binary(asked: InferBody) -> bool:
    """Whether the reply is binary: as asked for the whole, or for every output."""
    chosen = [output.parameters.binary_data for output in asked.outputs]
    return asked.parameters.binary_data_output if not chosen or None in chosen else all(chosen)


async def _run(
    recognition: Recognition,
    workspace: str,
    model: str,
    images: list[Entry],
    asked: InferBody,
    wanted: tuple[str, ...],
) -> list[Tensor]:
    question, has_labels, _ = await _find(recognition, workspace, model)
    names = wanted or (("label", "score", "rejected") if has_labels else ("embedding",))
    made: dict[str, Tensor] = {}
    if set(names) - {"embedding"}:
        if not has_labels:
            raise BadRequestError(f"outputs: '{model}' has no labels, only 'embedding'.", param="outputs")
        answer = await recognition.classify(workspace, images, question)
        made = _label_tensors(answer, asked.parameters.top_k or _DEFAULT_TOP_K)
    if "embedding" in names:
        encoder = model if question.collection is None else COLLECTION_MODEL + question.collection
        vectors, _ = await recognition.embed(workspace, images, [], encoder)
        made["embedding"] = Tensor("embedding", vectors, vectors.shape)
    return [made[name] for name in names]


def _label_tensors(answer: ClassifyResult, top_k: int) -> dict[str, Tensor]:
    """The best labels of each image with their scores, and whether the image shows none of them."""
    scores = answer.prediction.scores
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    labels = [answer.labels[index] for row in order for index in row]
    rejected = best[:, :1] < answer.threshold
    return {
        "label": Tensor("label", labels, order.shape),
        "score": Tensor("score", best, best.shape),
        "rejected": Tensor("rejected", rejected, rejected.shape),
    }
