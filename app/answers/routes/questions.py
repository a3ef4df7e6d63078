"""`POST /vqa` and `POST /caption`: ask about an image, or have it described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from app import errors
from app.access import Recogniser
from app.answers.dependencies import AnsweringService
from app.answers.forms import QuestionText
from app.answers.schemas import AnswerReply, AnswerWarning, CaptionReply, Timing, UsedExample
from app.answers.schemas import Usage as UsageInfo
from app.answers.service import Answering, AskRequest, AskResult
from app.answers.streaming import Events, stream_answer
from app.collections.dependencies import UPLOAD_ERRORS
from app.collections.errors import CollectionNotFoundError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.event_stream import describe_events, describe_object
from app.http.fields import Flag, Form, at_most
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.inference.errors import (
    ModelNotFoundError,
    ModelTaskError,
    ModelUnavailableError,
    QuestionTooLongError,
    RemoteModelBusyError,
    RemoteModelError,
)
from app.inference.prompts import Sampling, Task
from app.settings import Settings

Reply = TypeVar("Reply", bound=BaseModel)
AnyGenerationForm = TypeVar("AnyGenerationForm", bound="GenerationForm")

router = APIRouter(tags=["answering"])


class GenerationForm(Form):
    """By which model an answer is made, and how."""

    model: str | None = Field(None, description="A vision-language model; the service's default if empty.")
    max_new_tokens: (
        Annotated[int, Field(ge=1), at_most(lambda settings: settings.answers.max_new_tokens)] | None
    ) = Field(None, description="Longest answer, in tokens.")
    temperature: float = Field(
        0, ge=0, le=2, description="0 gives the same answer every time; more draws from the model's chances."
    )
    top_p: float = Field(1, ge=0.01, le=1)
    strict: Flag = Field(
        False,
        description="422 `outside_domain`, not a warning, for a picture unlike anything that the model knows.",
    )
    stream: Flag = Field(
        False,
        description="Server-sent events: `token` for each piece, then `done` with the whole reply, or `error`.",
    )


class QuestionForm(GenerationForm):
    """A question about the image, and which examples the model is shown with it."""

    question: QuestionText
    collection: str | None = Field(
        None, description="Show the model answer examples of this collection; none are shown without it."
    )
    k: Annotated[int, Field(ge=0), at_most(lambda settings: settings.answers.max_answer_examples)] | None = (
        Field(
            None,
            description="How many answer examples; 0 for none. Without it VISION_ANSWER_EXAMPLES, and none for a model "
            "trained here, which has learned its answers and was never shown others beside a question.",
        )
    )


class CaptionForm(GenerationForm):
    """What to describe."""

    prompt: QuestionText = Field("", description="What to describe, or how; the caption may continue it.")


VQA_UPLOAD = UploadForm(QuestionForm, images="one")
CAPTION_UPLOAD = UploadForm(CaptionForm, images="one")
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


def _describe_stream(reply: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What `stream` gives in the place of the reply: its pieces as they come, then the whole, or what went wrong."""
    return {
        200: {
            "description": "The answer; with `stream` `token` events as it comes, then `done` with the whole reply, "
            "or `error`.",
            "content": describe_events(
                token=describe_object("text", text={"type": "string"}),
                done={"$ref": f"#/components/schemas/{reply.__name__}"},
                error={"$ref": "#/components/schemas/Problem"},
            ),
        }
    }


@router.post(
    "/vqa",
    response_model=AnswerReply,
    responses={**_describe_stream(AnswerReply), **responses(CollectionNotFoundError, *_ERRORS)},
    openapi_extra=VQA_UPLOAD.openapi(),
)
async def vqa(
    request: Request,
    caller: Recogniser,
    upload: Annotated[ReceivedForm[QuestionForm], Depends(VQA_UPLOAD)],
    settings: AppSettings,
    answering: AnsweringService,
) -> AnswerReply | Response:
    """Answer a question about an image, with the answer examples of a collection if one is named."""
    form = upload.fields
    asked = _to_request(form, settings, form.question, "vqa", form.collection, form.k)
    return await _reply(request, answering, caller.workspace, upload, asked, _answer_reply)


@router.post(
    "/caption",
    response_model=CaptionReply,
    responses={**_describe_stream(CaptionReply), **responses(*_ERRORS)},
    openapi_extra=CAPTION_UPLOAD.openapi(),
)
async def caption(
    request: Request,
    caller: Recogniser,
    upload: Annotated[ReceivedForm[CaptionForm], Depends(CAPTION_UPLOAD)],
    settings: AppSettings,
    answering: AnsweringService,
) -> CaptionReply | Response:
    """Describe an image in words."""
    asked = _to_request(upload.fields, settings, upload.fields.prompt, "caption", None, 0)
    return await _reply(request, answering, caller.workspace, upload, asked, _caption_reply)


def _to_request(
    form: GenerationForm, settings: Settings, text: str, task: Task, collection: str | None, shots: int | None
) -> AskRequest:
    return AskRequest(
        text=text,
        task=task,
        model=form.model,
        max_new_tokens=form.max_new_tokens
        or min(settings.answers.default_new_tokens, settings.answers.max_new_tokens),
        sampling=Sampling(form.temperature, form.top_p),
        collection=collection,
        shots=shots,
        strict=form.strict,
    )


async def _reply(
    request: Request,
    answering: Answering,
    workspace: str,
    upload: ReceivedForm[AnyGenerationForm],
    asked: AskRequest,
    written: Callable[[AskResult], Reply],
) -> Reply | Response:
    image = upload.images[0]
    if upload.fields.stream:
        return await stream_answer(
            request, lambda on_text: answering.ask(workspace, image, asked, on_text), Events(written)
        )
    return written(await unless_disconnected(request, answering.ask(workspace, image, asked)))


def _answer_reply(answered: AskResult) -> AnswerReply:
    examples = [UsedExample.model_validate(example, from_attributes=True) for example in answered.examples]
    return AnswerReply(answer=answered.answer.text, examples_used=examples, **_tell(answered))


def _caption_reply(answered: AskResult) -> CaptionReply:
    return CaptionReply(caption=answered.answer.text, **_tell(answered))


def _tell(answered: AskResult) -> dict[str, Any]:
    """What both replies say of how the answer came about."""
    answer = answered.answer
    return {
        "model": answered.model,
        "finish_reason": answer.finish_reason,
        "usage": UsageInfo(
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            total_tokens=answer.prompt_tokens + answer.completion_tokens,
        ),
        "timing_ms": Timing(
            decode=round(answered.decode_ms, 3),
            examples=round(answered.examples_ms, 3),
            generate=round(answered.generate_ms, 3),
            total=round(answered.total_ms, 3),
        ),
        "warnings": [AnswerWarning(**vars(warned)) for warned in answered.warnings],
    }
