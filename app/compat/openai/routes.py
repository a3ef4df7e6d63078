"""`/v1/chat/completions`, `/v1/responses`, `/v1/completions` and hub ids under `/v1/models`, for OpenAI's clients."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.access import Recogniser
from app.answers.dependencies import AnsweringService
from app.answers.service import Answering
from app.answers.streaming import stream_answer
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.errors import CollectionNotFoundError, EmptyCollectionError
from app.collections.service import Question, Recognition
from app.compat.errors import (
    FieldNotSupportedError,
    ImageRequiredError,
    ImageUrlNotFetchedError,
    UseChatError,
)
from app.compat.openai.conversation import (
    check_sampling,
    read_conversation,
    to_asked,
)
from app.compat.openai.labelling import collection_of, label_text
from app.compat.openai.replies import (
    Made,
    chat_reply,
    chat_usage,
    finish_of,
    response_object,
    warnings_of,
)
from app.compat.openai.schemas import ChatBody, Message, ResponsesBody
from app.compat.openai.stopping import StopText
from app.compat.openai.streams import ChatFrames, ResponseFrames
from app.compat.reading import describe_body, read_body
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.event_stream import EVENT_STREAM
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError, ModelTaskError, QuestionTooLongError
from app.inference.prompts import Task

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
    check_sampling(body)
    if (body.n or 1) != 1:
        raise FieldNotSupportedError("n: one answer a request.", param="n")
    as_json = body.response_format is not None and body.response_format.type != "text"
    collection = collection_of(body.model)
    if as_json and collection is None:
        raise FieldNotSupportedError(
            "response_format: answers cannot be held to a form here; only `collection/<name>` answers in JSON.",
            param="response_format",
        )
    if collection is not None:
        return await _label(request, caller.workspace, recognition, body, collection, as_json=as_json)
    conversation = await read_conversation(request, body.messages)
    asked = to_asked(conversation, body, body.max_completion_tokens or body.max_tokens, settings)
    words = [body.stop] if isinstance(body.stop, str) else body.stop or []
    stops = StopText(words)
    if body.stream:
        made = Made("chatcmpl", _model_name(body.model, answering, asked.task))
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return await stream_answer(
            request,
            lambda on_text: answering.ask(caller.workspace, conversation.image, asked, on_text),
            ChatFrames(made, include_usage, stops),
        )
    answered = await unless_disconnected(request, answering.ask(caller.workspace, conversation.image, asked))
    text = stops.feed(answered.answer.text) + stops.rest()
    finish = finish_of(answered, stopped=stops.stopped)
    made = Made("chatcmpl", _model_name(body.model, answering, asked.task))
    return JSONResponse(chat_reply(made, text, finish, chat_usage(answered), **warnings_of(answered)))


async def _label(
    request: Request,
    workspace: str,
    recognition: Recognition,
    body: ChatBody,
    collection: str,
    *,
    as_json: bool,
) -> Response:
    """The label of the latest image by what a collection was taught."""
    conversation = await read_conversation(request, body.messages)
    question = Question(collection=collection)
    found = await unless_disconnected(
        request, recognition.classify(workspace, [conversation.image], question)
    )
    made = Made("chatcmpl", body.model or "")
    text = label_text(found, as_json=as_json)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.stream:
        return JSONResponse(chat_reply(made, text, "stop", usage))
    include_usage = body.stream_options is not None and body.stream_options.include_usage
    frames = ChatFrames(made, include_usage, StopText([]))
    return Response(frames.whole(text, usage), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})


@router.post("/responses", responses=_ERRORS, openapi_extra=describe_body(ResponsesBody))
async def create_response(
    request: Request, caller: Recogniser, settings: AppSettings, answering: AnsweringService
) -> Response:
    """The same in the form of OpenAI's newer call; nothing is stored."""
    body = await read_body(request, ResponsesBody)
    check_sampling(body)
    conversation = await read_conversation(request, _messages(body))
    asked = to_asked(conversation, body, body.max_output_tokens, settings)
    made = Made("resp", _model_name(body.model, answering, asked.task))
    if body.stream:
        return await stream_answer(
            request,
            lambda on_text: answering.ask(caller.workspace, conversation.image, asked, on_text),
            ResponseFrames(made, body.instructions),
        )
    answered = await unless_disconnected(request, answering.ask(caller.workspace, conversation.image, asked))
    return JSONResponse(response_object(made, body.instructions, answered, answered.answer.text))


@router.post("/completions", status_code=404, responses=responses(UseChatError))
async def create_completion(caller: Recogniser) -> None:
    """Not offered: says to use chat completions."""
    raise UseChatError


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
