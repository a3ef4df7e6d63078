"""`/hf/{task}`: huggingface_hub's `InferenceClient`, a URL for each task, with or without a model in it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from app.access import Recogniser
from app.answers.dependencies import AnsweringService
from app.answers.service import Answering, AskRequest, AskResult
from app.collections.dependencies import RecognitionService
from app.collections.service import ClassifyRequest, Recognition
from app.compat.choosing import best_labels, choose_labels, is_rejected
from app.compat.errors import FieldNotSupportedError
from app.compat.reading import Body, check_labels, check_texts, keep_images, parse_body, read_images
from app.errors import BadRequestError
from app.http.base64_images import is_data_uri
from app.http.dependencies import AppSettings, UploadSpool
from app.http.disconnect import unless_disconnected
from app.http.fields import FIRST_WRONG
from app.http.spool import Entry, Spool
from app.inference.errors import QuestionTooLongError
from app.inference.prompts import Sampling, Task
from app.settings import Settings

PREFIX = "/hf/"
HfTask = Literal[
    "image-classification",
    "zero-shot-image-classification",
    "image-to-text",
    "visual-question-answering",
    "feature-extraction",
]
_TOP_K = 5
_SURE = 1.0
"""The score of an answer: the client wants a number, and no probability of an answer is known."""

router = APIRouter(prefix="/hf", tags=["other clients"])


class Parameters(Body):
    """What the client calls `parameters`."""

    top_k: int | None = Field(None, ge=1)
    candidate_labels: Annotated[list[str], FIRST_WRONG] = Field([])
    hypothesis_template: str | None = None
    max_new_tokens: int | None = Field(None, ge=1)


class HfBody(Body):
    """A JSON body; the image is in `inputs` (or `image`) as base64."""

    inputs: str | Annotated[list[str], FIRST_WRONG] | dict[str, Any] | None = None
    image: str | None = None
    question: str | None = None
    parameters: Parameters = Parameters()
    dimensions: int | None = None
    encoding_format: str | None = None


@router.post("/{task}", include_in_schema=False)
@router.post("/{task}/{model:path}")
async def run_task(
    request: Request,
    task: HfTask,
    caller: Recogniser,
    settings: AppSettings,
    spool: UploadSpool,
    recognition: RecognitionService,
    answering: AnsweringService,
    model: str | None = None,
) -> JSONResponse:
    """Run a task of huggingface_hub's `InferenceClient` on raw bytes or on its JSON.

    `model` is a model's name, a collection's for `image-classification`, or left out for the default.
    """
    body, images = await _read(request, settings, spool)
    if task == "feature-extraction":
        work = _embed(recognition, caller.workspace, images, body, model, settings)
        return JSONResponse(await unless_disconnected(request, work))
    if len(images) != 1:
        raise BadRequestError("inputs: send exactly one image, as the raw body or as base64.", param="inputs")
    if task in ("image-classification", "zero-shot-image-classification"):
        zero_shot = task.startswith("zero-shot")
        question = await _question(recognition, caller.workspace, model, body, settings, zero_shot=zero_shot)
        return JSONResponse(
            await unless_disconnected(
                request, _classify(recognition, caller.workspace, images, question, body)
            )
        )
    asked = _to_request(body, model, settings, "caption" if task == "image-to-text" else "vqa")
    answered = await unless_disconnected(request, _ask(answering, caller.workspace, images[0], asked))
    if asked.task == "caption":
        return JSONResponse([{"generated_text": answered.answer.text}])
    return JSONResponse([{"answer": answered.answer.text, "score": _SURE}])


@router.get("/{task}/info", include_in_schema=False)
@router.get("/{task}/{model:path}/info")
async def describe_task(task: HfTask, caller: Recogniser, model: str | None = None) -> dict[str, str]:
    """What answers here, as the client asks an endpoint."""
    return {
        "model_id": model or "default",
        "model_pipeline_tag": task,
        "version": version("llamafarm-vision"),
    }


@router.get("/{task}/health", include_in_schema=False)
@router.get("/{task}/{model:path}/health")
async def check_task(task: HfTask, caller: Recogniser, model: str | None = None) -> dict[str, str]:
    """Whether the service answers."""
    return {"status": "ok"}


async def _read(request: Request, settings: Settings, spool: Spool) -> tuple[HfBody, list[Entry]]:
    """The JSON and its image, or the raw image with nothing beside it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await request.body()
    if kind != "application/json":
        return HfBody(), await keep_images(request, [data] if data else [], settings, spool)
    body = await asyncio.to_thread(parse_body, data, HfBody, settings)
    is_embedding = request.path_params["task"] == "feature-extraction"
    written = body.inputs if body.image is None or (is_embedding and body.inputs) else body.image
    if isinstance(body.inputs, dict):  # older clients put question and image together there
        written = body.inputs.get("image")
        asked = body.inputs.get("question")
        body.question = body.question or (asked if isinstance(asked, str) else None)
    texts = written if isinstance(written, list) else [written]
    if is_embedding and not isinstance(body.inputs, dict):
        texts = [text for text in texts if isinstance(text, str) and is_data_uri(text)]
    return body, await read_images(request, [text for text in texts if isinstance(text, str)], "inputs")


async def _question(
    recognition: Recognition,
    workspace: str,
    model: str | None,
    body: HfBody,
    settings: Settings,
    *,
    zero_shot: bool,
) -> ClassifyRequest:
    labels: list[str] = []
    if zero_shot:
        field = "parameters.candidate_labels"
        labels = check_labels(body.parameters.candidate_labels, field, settings, least=2)
    return await choose_labels(recognition, workspace, model, labels)


async def _classify(
    recognition: Recognition, workspace: str, images: list[Entry], question: ClassifyRequest, body: HfBody
) -> list[dict[str, Any]]:
    """Labels, the best first; `rejected` is a member of our own on each where none of them is shown."""
    answer = await recognition.classify(workspace, images, question)
    top_k = body.parameters.top_k or (None if question.labels else _TOP_K)
    more = {"rejected": True} if is_rejected(answer, 0) else {}
    return [{"label": label, "score": score, **more} for label, score in best_labels(answer, 0, top_k)]


async def _embed(
    recognition: Recognition,
    workspace: str,
    images: list[Entry],
    body: HfBody,
    model: str | None,
    settings: Settings,
) -> list[list[float]]:
    if body.encoding_format not in (None, "float"):
        raise FieldNotSupportedError("encoding_format: only 'float'.", param="encoding_format")
    given = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    texts = given if isinstance(given, list) else []
    words = [text for text in texts if not is_data_uri(text)]
    if words or not images:
        check_texts(words, "inputs", settings)
    vectors, _ = await recognition.embed(workspace, images, words, model or None)
    if body.dimensions not in (None, 0, vectors.shape[1]):
        raise FieldNotSupportedError(
            f"dimensions: the model's vectors have {vectors.shape[1]} numbers, and none are cut off.",
            param="dimensions",
        )
    if not texts:  # images alone, in a raw body or beside `inputs`
        rest: list[list[float]] = vectors.tolist()
        return rest
    rows = iter(vectors[: len(images)].tolist()), iter(vectors[len(images) :].tolist())
    return [next(rows[0]) if is_data_uri(text) else next(rows[1]) for text in texts]


def _to_request(body: HfBody, model: str | None, settings: Settings, task: Task) -> AskRequest:
    if task == "vqa" and not (body.question or "").strip():
        raise BadRequestError("question: it is missing.", param="question")
    answers = settings.answers
    if len(body.question or "") > answers.max_question_chars:
        raise QuestionTooLongError(
            f"question: it has at most {answers.max_question_chars} characters.", param="question"
        )
    tokens = body.parameters.max_new_tokens or answers.default_new_tokens
    return AskRequest(
        text=body.question or "" if task == "vqa" else "",
        task=task,
        model=model or None,
        max_new_tokens=min(tokens, answers.max_new_tokens),
        sampling=Sampling(),
        shots=0,
    )


async def _ask(answering: Answering, workspace: str, image: Entry, asked: AskRequest) -> AskResult:
    return await answering.ask(workspace, image, asked)
