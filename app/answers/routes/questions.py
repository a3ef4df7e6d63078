"""`POST /vqa` and `POST /caption`: ask about an image, or have it described.

Knows the fields and their bounds; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app import errors
from app.answers.dependencies import AnsweringService
from app.answers.schemas import AnswerReply, AnswerWarning, CaptionReply, Timing, UsedExample
from app.answers.schemas import Usage as UsageInfo
from app.answers.service import Answered, Answering, Asked
from app.answers.streaming import EVENT_STREAM, streamed
from app.collections.dependencies import UPLOAD_ERRORS, Recogniser, Uploaded
from app.collections.errors import CollectionNotFoundError
from app.errors import InvalidInputError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.forms import Upload
from app.http.openapi import upload_body
from app.http.problems import responses
from app.inference.errors import (
    ModelNotFoundError,
    ModelTaskError,
    ModelUnavailableError,
    QuestionTooLongError,
    RemoteModelBusyError,
    RemoteModelError,
)
from app.inference.prompts import Answer, Sampling, Task
from app.settings import Settings

Reply = TypeVar("Reply", bound=BaseModel)

router = APIRouter(tags=["answering"])

_COMMON: dict[str, dict[str, Any]] = {
    "model": {"type": "string", "description": "A vision-language model; the service's default if empty."},
    "max_new_tokens": {"type": "integer", "minimum": 1, "description": "Longest answer, in tokens."},
    "temperature": {
        "type": "number",
        "minimum": 0,
        "maximum": 2,
        "default": 0,
        "description": "0 gives the same answer every time; more draws from the model's chances.",
    },
    "top_p": {"type": "number", "minimum": 0.01, "maximum": 1, "default": 1},
    "strict": {
        "type": "boolean",
        "default": False,
        "description": "422 `outside_domain`, not a warning, for a picture unlike anything that the model knows.",
    },
    "stream": {
        "type": "boolean",
        "default": False,
        "description": "Server-sent events: `token` for each piece, then `done` with the whole reply, or `error`.",
    },
}
_VQA: dict[str, dict[str, Any]] = {
    "question": {"type": "string"},
    "collection": {
        "type": "string",
        "description": "Show the model answer examples of this collection; none are shown without it.",
    },
    "k": {
        "type": "integer",
        "minimum": 0,
        "description": "How many answer examples; 0 for none. Without it VISION_ANSWER_EXAMPLES, and none for a model "
        "trained here, which has learned its answers and was never shown others beside a question.",
    },
    **_COMMON,
}
_CAPTION: dict[str, dict[str, Any]] = {
    "prompt": {"type": "string", "description": "What to describe, or how; the caption may continue it."},
    **_COMMON,
}
_ERRORS: tuple[type[errors.VisionError], ...] = (
    ModelNotFoundError,
    *UPLOAD_ERRORS,
    QuestionTooLongError,
    ModelTaskError,
    errors.OutsideDomainError,
    RemoteModelError,
    RemoteModelBusyError,
    ModelUnavailableError,
)
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}


@router.post(
    "/vqa",
    response_model=AnswerReply,
    responses={**_STREAMED, **responses(CollectionNotFoundError, *_ERRORS)},
    openapi_extra=upload_body(_VQA, several=False, required=("image", "question")),
)
async def vqa(
    request: Request, caller: Recogniser, upload: Uploaded, settings: AppSettings, answering: AnsweringService
) -> AnswerReply | Response:
    """Answer a question about an image, with the answer examples of a collection if one is named."""
    upload.only(*_VQA)
    question = upload.text("question")
    if question is None:
        raise InvalidInputError("question: it is missing.")
    most = settings.max_answer_examples
    shots = None if upload.text("k") is None else _whole(upload, "k", 0, most, most)
    named = upload.text("collection")
    asked = _asked(upload, settings, answering, question, "vqa", named, shots)
    return await _reply(request, answering, caller.workspace, upload, asked, _answer_reply)


@router.post(
    "/caption",
    response_model=CaptionReply,
    responses={**_STREAMED, **responses(*_ERRORS)},
    openapi_extra=upload_body(_CAPTION, several=False),
)
async def caption(
    request: Request, caller: Recogniser, upload: Uploaded, settings: AppSettings, answering: AnsweringService
) -> CaptionReply | Response:
    """Describe an image in words."""
    upload.only(*_CAPTION)
    asked = _asked(upload, settings, answering, upload.text("prompt") or "", "caption", None, 0)
    return await _reply(request, answering, caller.workspace, upload, asked, _caption_reply)


def _asked(
    upload: Upload,
    settings: Settings,
    answering: Answering,
    text: str,
    task: Task,
    collection: str | None,
    shots: int | None,
) -> Asked:
    """The fields both calls share; raises InvalidInputError and QuestionTooLongError."""
    if len(upload.images) != 1:
        raise InvalidInputError("image: send exactly one.")
    answering.check(text)
    temperature, top_p = upload.number("temperature"), upload.number("top_p")
    if temperature is not None and not 0 <= temperature <= 2:
        raise InvalidInputError("temperature: it lies between 0 and 2.")
    if top_p is not None and not 0.01 <= top_p <= 1:
        raise InvalidInputError("top_p: it lies between 0.01 and 1.")
    usual = min(settings.default_new_tokens, settings.max_new_tokens)
    return Asked(
        text=text,
        task=task,
        model=upload.text("model"),
        max_new_tokens=_whole(upload, "max_new_tokens", 1, settings.max_new_tokens, usual),
        sampling=Sampling(temperature or 0.0, 1.0 if top_p is None else top_p),
        collection=collection,
        shots=shots,
        strict=_is_set(upload, "strict"),
    )


def _is_set(upload: Upload, name: str) -> bool:
    value = (upload.text(name) or "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidInputError(f"{name}: it is true or false.")
    return value in ("true", "1")


def _whole(upload: Upload, name: str, least: int, most: int, usual: int) -> int:
    value = upload.whole(name)
    if value is None:
        return usual
    if not least <= value <= most:
        raise InvalidInputError(f"{name}: it lies between {least} and {most}.")
    return value


async def _reply(
    request: Request,
    answering: Answering,
    workspace: str,
    upload: Upload,
    asked: Asked,
    written: Callable[[Answered], Reply],
) -> Reply | Response:
    image = upload.images[0]
    if _is_set(upload, "stream"):
        return await streamed(
            request, lambda on_text: answering.ask(workspace, image, asked, on_text), written
        )
    return written(await unless_disconnected(request, answering.ask(workspace, image, asked)))


def _answer_reply(answered: Answered) -> AnswerReply:
    return AnswerReply(
        answer=answered.answer.text,
        model=answered.model,
        examples_used=[
            UsedExample(id=one.id, question=one.question, answer=one.answer, similarity=one.similarity)
            for one in answered.examples
        ],
        finish_reason=answered.answer.finish_reason,
        usage=_usage(answered.answer),
        timing_ms=_timing(answered),
        warnings=_warnings(answered),
    )


def _caption_reply(answered: Answered) -> CaptionReply:
    return CaptionReply(
        caption=answered.answer.text,
        model=answered.model,
        finish_reason=answered.answer.finish_reason,
        usage=_usage(answered.answer),
        timing_ms=_timing(answered),
        warnings=_warnings(answered),
    )


def _warnings(answered: Answered) -> list[AnswerWarning]:
    return [AnswerWarning(code=warned.code, sentence=warned.sentence) for warned in answered.warnings]


def _timing(answered: Answered) -> Timing:
    return Timing(
        decode=round(answered.decode_ms, 3),
        examples=round(answered.examples_ms, 3),
        generate=round(answered.generate_ms, 3),
        total=round(answered.total_ms, 3),
    )


def _usage(answer: Answer) -> UsageInfo:
    return UsageInfo(
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        total_tokens=answer.prompt_tokens + answer.completion_tokens,
    )
