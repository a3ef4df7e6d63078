"""What front ends and engines say to each other, and how failures travel.

A frame is two lengths (little-endian uint32: that of the header, that of the body), the header (msgpack: an array of
messages) and the body: what the messages carry, one after another. Pixels go through shared memory where it has room.
"""

from __future__ import annotations

import importlib
import logging
import re
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.errors import VisionError, locate_error
from app.inference.model_info import ModelInfo
from app.inference.prompts import Answer, Task
from app.inference.sources import Kind

PROTOCOL_VERSION = 1
encode = msgspec.msgpack.Encoder().encode
MAX_HEADER_BYTES = 16 << 20
MAX_HELLO_BYTES = 4_096
MAX_TEXTS = 1_024
MAX_TEXTS_BYTES = 1 << 20
"""Texts of one message, and their UTF-8; a longer list goes in several."""
MAX_CACHED_CLASSES = 64
_PLACE = re.compile(r"app\.([a-z_]+\.)?errors:[A-Za-z]+")
"""Where this project's failures are (`app.errors.list_errors`); those of a plug-in are in no such module."""
Seconds = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""Finite: a timer at no moment would put those of all other requests out of order."""
NOTHING = memoryview(b"")
INLINE = -1
"""The offset of pixels that travel in the frame's body."""

log = logging.getLogger(__name__)


class Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Written as an array that begins with the number of its kind."""


class Picture(Message):
    """Where the pixels uint8[height, width, 3] lie: in the shared memory, or in the body. Or a JPEG's file in the body,
    which the engine decodes.
    """

    height: int
    width: int
    offset: int
    file_bytes: int = 0
    """Length of the file; 0 for pixels."""
    turn: int = 1
    """See `app.media.encoded.EncodedJpeg`."""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.file_bytes or self.height * self.width * 3


class Failure(Message):
    """An error as it travels: the class by its place, and what a client is told."""

    place: str
    detail: str
    retry_after_s: int | None
    status: int
    code: str
    title: str


class EncoderCard(Message, tag="encoder"):
    """The facts of an encoder (`ServedEncoder`)."""

    name: str
    family: str
    key: str
    dim: int
    input_size: int
    temperature: float
    fingerprint: str
    runtime: str
    reads_texts: bool
    reads_jpeg: bool = False
    min_decoded_side: int | None = None


class VlmCard(Message, tag="vlm"):
    """The facts of a vision-language model (`ServedVlm`)."""

    name: str
    family: str
    runtime: str
    tasks: tuple[Task, ...]
    several_images: bool
    takes_text_alone: bool = False


Card = EncoderCard | VlmCard


# --- from the front end. Numbers of loans and requests are the front end's, each used once on a connection.


class Hello(Message, tag=1):
    """The first frame; the file descriptor of the shared memory rides along."""

    version: int
    token: str
    arena_bytes: int
    sender: str
    """Who asks, for the log."""


class Borrow(Message, tag=2):
    """Lend the model, which is loaded if need be, until `Return`; answered by `LoanReply` or `FailureReply`."""

    loan: int
    kind: Kind
    name: str | None


class Return(Message, tag=3):
    """The loan has ended."""

    loan: int


class EmbedImage(Message, tag=4):
    """Answered by `EmbedReply` or `FailureReply`, as are texts."""

    request: int
    loan: int
    remaining_s: Seconds
    picture: Picture


class EmbedTexts(Message, tag=5):
    """At most `MAX_TEXTS` texts of `MAX_TEXTS_BYTES`, or one that is longer."""

    request: int
    loan: int
    remaining_s: Seconds
    texts: list[str]
    are_questions: bool


class Ask(Message, tag=6):
    """A prompt; its pictures are that of the question, then those of the examples that have one. Answered by `Piece`s
    where `is_streamed`, then `WholeAnswer` or `FailureReply`.
    """

    request: int
    loan: int
    remaining_s: Seconds
    text: str
    task: Task
    max_new_tokens: Annotated[int, Meta(ge=1, le=1 << 31)]
    temperature: Annotated[float, Meta(ge=0, le=1e6)]
    top_p: Annotated[float, Meta(ge=0, le=1)]
    examples: list[tuple[str, str, bool]]
    """Question, answer, whether a picture of `pictures` is its image."""
    pictures: list[Picture]
    is_streamed: bool
    stop: tuple[str, ...] = ()
    is_text_only: bool = False


class Cancel(Message, tag=7):
    """Nobody waits for this request any more; it is answered all the same, so that its memory is known to be free."""

    request: int


class Forget(Message, tag=8):
    """Give back the memory of a model; answered by `Done` or `FailureReply`."""

    request: int
    location: str


class AskStats(Message, tag=9):
    """Asks for counts and times; answered by `Stats`."""

    request: int


Request = Borrow | Return | EmbedImage | EmbedTexts | Ask | Cancel | Forget | AskStats


# --- from the engine


class Welcome(Message, tag=32):
    """The answer to `Hello`."""

    version: int
    engine: str


class Catalog(Message, tag=33):
    """Sent after `Welcome` and whenever a model came or went, before whatever is answered afterwards."""

    known: list[ModelInfo]
    live: list[tuple[str, ModelInfo]]
    """Each with its location, the most recently used first."""
    families: list[str]


class LoanReply(Message, tag=34):
    """The loan's facts."""

    loan: int
    card: Card


class EmbedReply(Message, tag=35):
    """`count` vectors of the space `key` in the body: float32[count, dim]."""

    request: int
    key: str
    count: int
    dim: int


class Piece(Message, tag=36):
    """The next piece of text of an answer."""

    request: int
    text: str


class WholeAnswer(Message, tag=37):
    """The whole answer, and the indices of the examples that fitted."""

    request: int
    answer: Answer
    used: tuple[int, ...]


class FailureReply(Message, tag=38):
    """Of a request or a loan."""

    request: int
    failure: Failure


class Done(Message, tag=39):
    """A request has ended that has nothing to say, such as a cancelled one."""

    request: int


class Stats(Message, tag=40):
    """Loaded models with their figures of now."""

    request: int
    live: list[ModelInfo]


Reply = Welcome | Catalog | LoanReply | EmbedReply | Piece | WholeAnswer | FailureReply | Done | Stats


def fail(error: BaseException) -> Failure:
    """What of an error may leave the engine: of one that no client should see, nothing but that it happened."""
    if not isinstance(error, VisionError):
        log.error("a request failed in the engine", exc_info=error)
        error = VisionError()
    elif error.__cause__ is not None:
        log.warning("a request failed: %s", error.detail, exc_info=error.__cause__)
    place = next(place for kind in type(error).__mro__ if _PLACE.fullmatch(place := locate_error(kind)))
    return Failure(place, error.detail, error.retry_after_s, error.status, error.code, error.title)


def to_exception(failure: Failure) -> VisionError:
    """The error again; of a class that this process lacks, one that tells clients the same."""
    kind = _find_class(failure.place)
    if (kind.status, kind.code, kind.title) != (failure.status, failure.code, failure.title):
        kind = _subclass(kind, failure.status, failure.code, failure.title)
    error: VisionError = kind(failure.detail, retry_after_s=failure.retry_after_s)
    return error


@lru_cache(MAX_CACHED_CLASSES)
def _find_class(place: str) -> Any:
    """A failure of this project; VisionError where there is none of that name."""
    if _PLACE.fullmatch(place):
        module, _, name = place.partition(":")
        with suppress(ImportError):
            kind = getattr(importlib.import_module(module), name, None)
            if isinstance(kind, type) and issubclass(kind, VisionError):
                return kind
    return VisionError


@lru_cache(MAX_CACHED_CLASSES)
def _subclass(kind: Any, status: int, code: str, title: str) -> Any:
    members: dict[str, Any] = {"status": status, "code": code, "title": title, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), members)
