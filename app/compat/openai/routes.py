"""`/v1/chat/completions`, `/v1/responses` and `/v1/completions`, for OpenAI's clients."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.access import Recogniser
from app.answers.dependencies import AnsweringService
from app.answers.errors import ImageRequiredError
from app.answers.service import Answering, AskResult
from app.answers.streaming import stream_answer
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError
from app.collections.service import ClassifyRequest, Recognition
from app.compat.errors import FieldNotSupportedError, UseChatError
from app.compat.openai.conversation import (
    Conversation,
    check_sampling,
    read_conversation,
    to_request,
)
from app.compat.openai.labelling import label_answer
from app.compat.openai.replies import (
    ReplyHead,
    chat_reply,
    chat_usage,
    finish_of,
    response_object,
    warnings_of,
)
from app.compat.openai.schemas import ChatBody, Message, ResponsesBody
from app.compat.openai.streams import ChatFrames, ResponseFrames
from app.compat.reading import describe_body, read_body
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.errors import ImageUrlNotFetchedError
from app.http.names import collection_of
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError, ModelTaskError, QuestionTooLongError
from app.inference.prompts import Task

Ask = Callable[[Callable[[str], None] | None], Coroutine[Any, Any, AskResult]]
"""Answers; what it is given gets each piece of the answer as it comes."""

router = APIRouter(tags=["other clients"])

_ERRORS = responses(
    ModelNotFoundError,
    CollectionNotFoundError,
    EmptyCollectionError,
    QuestionTooLongError,
    ModelTaskError,
    FieldNotSupportedError,
    ImageRequiredError,
    ImageUrlNotFetchedError,
    *UPLOAD_ERRORS,
)


@router.post("/chat/completions", responses=_ERRORS, openapi_extra=describe_body(ChatBody))
async def create_chat_completion(
    request: Request,
    caller: Recogniser,
    settings: AppSettings,
    answering: AnsweringService,
    recognition: RecognitionService,
) -> Response:
    """Answer the last question of a conversation about its latest image, as OpenAI's clients ask and read."""
    body = await read_body(request, ChatBody)
    form = None if body.response_format is None else body.response_format.type
    check_sampling(body, form, "response_format")
    if (body.n or 1) != 1:
        raise FieldNotSupportedError("n: one answer a request.", param="n")
    conversation = await read_conversation(request, body.messages)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    asked = to_request(conversation, body, body.max_completion_tokens or body.max_tokens, settings, stop)
    ask: Ask = lambda on_text: answering.ask(caller.workspace, conversation.image, asked, on_text)  # noqa: E731
    if (collection := collection_of(body.model)) is not None:
        ask = _labels_by(recognition, caller.workspace, conversation, collection, form)
    made = ReplyHead("chatcmpl", _model_name(body.model, answering, asked.task))
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return await stream_answer(request, ask, ChatFrames(made, include_usage))
    answered = await unless_disconnected(request, ask(None))
    more = warnings_of(answered)
    return JSONResponse(
        chat_reply(made, answered.answer.text, finish_of(answered), chat_usage(answered), **more)
    )


@router.post("/responses", responses=_ERRORS, openapi_extra=describe_body(ResponsesBody))
async def create_response(
    request: Request,
    caller: Recogniser,
    settings: AppSettings,
    answering: AnsweringService,
    recognition: RecognitionService,
) -> Response:
    """The same in the form of OpenAI's newer call; nothing is stored."""
    body = await read_body(request, ResponsesBody)
    form = None if body.text is None or body.text.format is None else body.text.format.type
    check_sampling(body, form, "text.format")
    conversation = await read_conversation(request, _messages(body))
    asked = to_request(conversation, body, body.max_output_tokens, settings)
    ask: Ask = lambda on_text: answering.ask(caller.workspace, conversation.image, asked, on_text)  # noqa: E731
    if (collection := collection_of(body.model)) is not None:
        ask = _labels_by(recognition, caller.workspace, conversation, collection, form)
    made = ReplyHead("resp", _model_name(body.model, answering, asked.task))
    if body.stream:
        return await stream_answer(request, ask, ResponseFrames(made, body.instructions))
    answered = await unless_disconnected(request, ask(None))
    return JSONResponse(response_object(made, body.instructions, answered, answered.answer.text))


@router.post("/completions", include_in_schema=False)
async def create_completion(caller: Recogniser) -> None:
    """Not offered: says to use chat completions."""
    raise UseChatError


def _labels_by(
    recognition: Recognition, workspace: str, conversation: Conversation, collection: str, form: str | None
) -> Ask:
    """Answers with the label of the latest image, by what a collection was taught."""

    async def ask(on_text: Callable[[str], None] | None) -> AskResult:
        if conversation.image is None:
            raise ImageRequiredError(param="messages")
        found = await recognition.classify(
            workspace, [conversation.image], ClassifyRequest(collection=collection)
        )
        answered = label_answer(found, as_json=form not in (None, "text"))
        if on_text is not None:
            on_text(answered.answer.text)
        return answered

    return ask


def _messages(body: ResponsesBody) -> list[Message]:
    messages = [Message(role="system", content=body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, Message(role="user", content=body.input)]
    for item in body.input:
        if item.type == "message":
            messages.append(Message(role=item.role, content=item.content))
    return messages


def _model_name(asked: str | None, answering: Answering, task: Task) -> str:
    """The model as the client named it, else the default's name; never where it lies on this machine."""
    return asked or Path(answering.models.default_vlm(task)).name
