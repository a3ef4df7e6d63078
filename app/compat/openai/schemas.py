"""What OpenAI's clients send and read: chat completions and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from app.compat.reading import Body
from app.http.fields import FIRST_WRONG

FinishReason = Literal["stop", "length"]


class ImageUrl(Body):
    """Where an image is; `detail` and other members are ignored."""

    url: str


class Part(Body):
    """A piece of a message: words (`text`, `input_text`, `output_text`) or an image (`image_url`, `input_image`)."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None

    @property
    def image(self) -> str | None:
        """The image as it was written; None for words."""
        return self.image_url.url if isinstance(self.image_url, ImageUrl) else self.image_url


class Message(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = "user"
    content: str | Annotated[list[Part], FIRST_WRONG] | None = None

    @property
    def text(self) -> str:
        """Its words, a line a part."""
        if not isinstance(self.content, list):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.text)

    @property
    def images(self) -> list[str]:
        """Its images as they were written."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.image for part in parts if part.image is not None]


class StreamOptions(Body):
    """What a stream holds beside the answer."""

    include_usage: bool = False


class ResponseFormat(Body):
    """In which form the answer is wanted."""

    type: str = "text"


class SamplingBody(Body):
    """How an answer is made, as both calls have it."""

    model: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stream: bool | None = None
    tool_choice: Any = None


class ChatBody(SamplingBody):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], FIRST_WRONG] = Field(min_length=1)
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | Annotated[list[str], FIRST_WRONG] | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None


class TextOptions(Body):
    """How the words of a response are wanted."""

    format: ResponseFormat | None = None


class InputItem(Body):
    """An item of a response's input; those that are no messages are ignored."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: str | Annotated[list[Part], FIRST_WRONG] | None = None


class ResponsesBody(SamplingBody):
    """`POST /v1/responses`."""

    input: str | Annotated[list[InputItem], FIRST_WRONG]
    instructions: str | None = None
    text: TextOptions | None = None
    max_output_tokens: int | None = Field(None, ge=1)
