"""From the messages of a conversation to one question about one image, with the turns before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from app.answers.service import AskRequest, EarlierTurn
from app.compat.errors import FieldNotSupportedError
from app.compat.openai.schemas import Message, SamplingBody
from app.compat.reading import read_images
from app.errors import BadRequestError
from app.http.base64_images import is_web_address
from app.http.dependencies import service_of
from app.http.errors import ImageUrlNotFetchedError
from app.http.names import collection_of
from app.http.spool import Entry
from app.inference.errors import QuestionTooLongError
from app.inference.prompts import Sampling
from app.settings import Settings

_DEFAULT_MODELS = frozenset({"", "dummy"})
"""What clients send where no model was chosen (huggingface_hub: `dummy`)."""

MAX_STOP_WORDS = 16
MAX_STOP_CHARS = 100


@dataclass(frozen=True)
class Exchange:
    """Something a user said, with images, and what was answered; "" where nothing was."""

    question: str
    answer: str
    images: tuple[Entry, ...]


@dataclass(frozen=True)
class Conversation:
    """The question, the image it is about (the latest one, if any) and what was said and shown before, latest first."""

    question: str
    image: Entry | None
    earlier: tuple[EarlierTurn, ...]


async def read_conversation(request: Request, messages: Sequence[Message]) -> Conversation:
    """The conversation that ends with the last user message, of its latest messages and their latest images.

    Raises BadRequestError where there is none, QuestionTooLongError for more characters than the settings allow, and
    what `app.compat.reading.read_images` raises.
    """
    answers = service_of(request, "settings", Settings).answers
    messages = messages[-answers.max_chat_messages :]
    if sum(len(message.text) for message in messages) > answers.max_chat_chars:
        raise QuestionTooLongError(
            f"messages: a chat has at most {answers.max_chat_chars} characters.", param="messages"
        )
    users = [message for message in messages if message.role == "user"]
    if not users:
        raise BadRequestError("messages: there is no message of the role 'user'.", param="messages")
    written = [image for message in users for image in message.images]
    if any(is_web_address(text) for text in written):
        raise ImageUrlNotFetchedError(param="messages")
    latest = written[-answers.max_chat_images :]
    left_out = [None] * (len(written) - len(latest))
    entries = iter([*left_out, *await read_images(request, latest, "messages")])
    images = {
        id(user): [entry for _ in user.images if (entry := next(entries)) is not None] for user in users
    }
    system = "\n".join(
        message.text for message in messages if message.role in ("system", "developer") and message.text
    )
    return _arrange(_pair(messages, images), system)


def _pair(messages: Sequence[Message], images: dict[int, list[Entry]]) -> list[Exchange]:
    """Each user message with the answer that follows it, if one does before the next."""
    exchanges: list[Exchange] = []
    for message in messages:
        if message.role == "user":
            exchanges.append(Exchange(message.text, "", tuple(images[id(message)])))
        elif message.role == "assistant" and exchanges and message.text:
            last = exchanges[-1]
            exchanges[-1] = Exchange(
                last.question, "\n".join(filter(None, (last.answer, message.text))), last.images
            )
    return exchanges


def _arrange(exchanges: list[Exchange], system: str) -> Conversation:
    """The last exchange as the question; a text after an earlier image means that image."""
    last, before = exchanges[-1], exchanges[:-1]
    while before and not before[-1].answer:  # several user messages in a row are one
        last = Exchange(
            "\n".join(filter(None, (before[-1].question, last.question))),
            last.answer,
            before[-1].images + last.images,
        )
        before = before[:-1]
    shown = list(last.images)
    with_images = [index for index, exchange in enumerate(before) if exchange.images]
    if not shown and with_images:
        at = with_images[-1]
        shown = [before[at].images[-1]]
        before[at] = Exchange(before[at].question, before[at].answer, before[at].images[:-1])
    earlier = [EarlierTurn("", "", image) for image in reversed(shown[:-1])]
    for exchange in reversed(before):
        image = exchange.images[-1] if exchange.images else None
        earlier.append(EarlierTurn(exchange.question, exchange.answer, image))
        earlier += [EarlierTurn("", "", extra) for extra in reversed(exchange.images[:-1])]
    question = "\n\n".join(filter(None, (system, last.question)))
    return Conversation(question, shown[-1] if shown else None, tuple(earlier))


def _check_stop(words: Sequence[str]) -> tuple[str, ...]:
    """The words that end an answer. Raises BadRequestError: they are looked for after each token."""
    if len(words) > MAX_STOP_WORDS or any(len(word) > MAX_STOP_CHARS for word in words):
        raise BadRequestError(
            f"stop: at most {MAX_STOP_WORDS} words of {MAX_STOP_CHARS} characters.", param="stop"
        )
    return tuple(filter(None, words))


def check_sampling(body: SamplingBody, form: str | None, field: str) -> None:
    """Raises FieldNotSupportedError for tools that must be called, and for a `form` of answers no model keeps."""
    if body.tool_choice not in (None, "auto", "none"):
        raise FieldNotSupportedError("tool_choice: the models here call no tools.", param="tool_choice")
    if form not in (None, "text") and collection_of(body.model) is None:
        raise FieldNotSupportedError(
            f"{field}: answers cannot be held to a form here; only `collection/<name>` answers in JSON.",
            param=field,
        )


def read_model(body: SamplingBody) -> str | None:
    """The model that was chosen; None for the service's default."""
    return None if (body.model or "") in _DEFAULT_MODELS else body.model


def to_request(
    conversation: Conversation,
    body: SamplingBody,
    max_tokens: int | None,
    settings: Settings,
    stop: Sequence[str] = (),
) -> AskRequest:
    """The conversation's question; more tokens than the service allows are cut to what it allows."""
    answers = settings.answers
    return AskRequest(
        text=conversation.question,
        task="vqa" if conversation.question or conversation.image is None else "caption",
        model=read_model(body),
        max_new_tokens=min(max_tokens or answers.default_new_tokens, answers.max_new_tokens),
        sampling=Sampling(body.temperature or 0.0, 1.0 if body.top_p is None else max(body.top_p, 0.01)),
        shots=0,
        earlier=conversation.earlier,
        stop=_check_stop(stop),
    )
