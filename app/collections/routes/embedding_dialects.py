"""The JSON of `/embeddings` as the clients of OpenAI, Jina, infinity and vLLM write it, brought to one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.errors import BadRequestError, InvalidInputError
from app.http.base64_images import is_data_uri, is_web_address
from app.http.errors import ImageUrlNotFetchedError
from app.http.fields import FIRST_WRONG

Encoding = Literal["float", "base64"]

_SHAPE = (
    'The body holds `input` (a text, an image as {"image": base64}, or a list of these) and '
    "optionally `model` and `encoding_format` ('float' or 'base64')."
)
_TOKENS = (
    "input: token ids cannot be embedded here, since they are of another model's tokenizer; send texts (LangChain: "
    "OpenAIEmbeddings(check_embedding_ctx_length=False))."
)


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ImageInput(_Lenient):
    """An image among the inputs."""

    image: str = Field(description="Base64, or a data: URI.", json_schema_extra={"contentEncoding": "base64"})

    @field_validator("image", mode="before")
    @classmethod
    def _take_url(cls, given: Any) -> Any:
        return given.get("url") if isinstance(given, dict) else given


class TextInput(_Lenient):
    """A text among the inputs, as Jina's clients write it."""

    text: str


class _ImageUrl(_Lenient):
    url: str


class _Part(_Lenient):
    type: str = "text"
    text: str | None = None
    image_url: _ImageUrl | str | None = None


class _Message(_Lenient):
    content: str | Annotated[list[_Part], FIRST_WRONG]


class EmbeddingsRequest(_Lenient):
    """What OpenAI's clients send, and images beside the texts; members that are not named here are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"input": ["a photo of a cat", {"image": "iVBORw0KGgo..."}]}]},
    )

    input: (
        str | ImageInput | TextInput | Annotated[list[str | ImageInput | TextInput], FIRST_WRONG] | None
    ) = Field(None, description="Texts and images, in any order; a text that is a data: URI is an image.")
    messages: Annotated[list[_Message], FIRST_WRONG] | None = Field(
        None,
        description="Instead of `input`, as vLLM's clients send it: one text or one image, for one vector.",
    )
    model: str | None = Field(
        None,
        description="An encoder, or a trained classifier, whose encoder is meant; the default encoder if empty.",
    )
    encoding_format: str | None = Field(None, description="`float` (the default) or `base64`.")
    embedding_type: str | None = Field(None, description="The same, as Jina's clients call it.")
    modality: Literal["text", "image"] | None = Field(
        None, description="`image`: every text of `input` is an image, also without `data:`."
    )
    dimensions: int | None = Field(None, description="0 or the length of the model's vectors: none are cut.")


@dataclass(frozen=True)
class EmbeddingItem:
    """A text, or an image as it was written."""

    kind: Literal["text", "image"]
    value: str


@dataclass(frozen=True)
class ParsedRequest:
    """What to embed, in order."""

    items: list[EmbeddingItem]
    model: str | None
    encoding: Encoding
    dimensions: int | None
    """None: as long as they are."""


def parse_request(body: bytes, *, are_images: bool = False) -> ParsedRequest:
    """The request in any of the dialects; with `are_images` every text is an image.

    Raises BadRequestError for what is no JSON, token ids or an encoding that is not offered, ImageUrlNotFetchedError
    for an address in the place of an image, InvalidInputError for anything else that is wrong.
    """
    try:
        request = EmbeddingsRequest.model_validate_json(body)
    except ValidationError as error:
        if any(detail["type"] == "json_invalid" for detail in error.errors()):
            raise BadRequestError("The body is not valid JSON.") from None
        if _holds_numbers(error):
            raise BadRequestError(_TOKENS, param="input") from None
        raise InvalidInputError(_SHAPE) from None
    if request.input is None and request.messages is None:
        raise InvalidInputError(_SHAPE)
    items = (
        _of_messages(request.messages or [])
        if request.input is None
        else _of_input(request, are_images=are_images or request.modality == "image")
    )
    return ParsedRequest(items, request.model or None, _encoding_of(request), request.dimensions or None)


def check_dimensions(wanted: int | None, dim: int) -> None:
    """Raises BadRequestError for another length than that of the model's vectors."""
    if wanted not in (None, dim):
        raise BadRequestError(
            f"dimensions: this model's vectors have {dim} numbers; shorter ones would compare wrongly.",
            param="dimensions",
        )


def _holds_numbers(error: ValidationError) -> bool:
    """Whether `input` was refused for numbers in the place of texts."""
    found = [detail["input"] for detail in error.errors() if detail["loc"][:1] == ("input",)]
    flat = [value for given in found for value in (given if isinstance(given, list) else [given])]
    return any(isinstance(value, int) and not isinstance(value, bool) for value in flat)


def _encoding_of(request: EmbeddingsRequest) -> Encoding:
    name = "encoding_format" if request.encoding_format is not None else "embedding_type"
    match request.encoding_format or request.embedding_type:
        case None | "float":
            return "float"
        case "base64":
            return "base64"
    raise BadRequestError(f"{name}: 'float' or 'base64'; vectors are not rounded to bits here.", param=name)


def _of_input(request: EmbeddingsRequest, *, are_images: bool) -> list[EmbeddingItem]:
    given = request.input if isinstance(request.input, list) else [request.input]
    return [_item(entry, are_images=are_images) for entry in given if entry is not None]


def _item(one: str | ImageInput | TextInput, *, are_images: bool = False) -> EmbeddingItem:
    if isinstance(one, ImageInput):
        return EmbeddingItem("image", one.image)
    text = one.text if isinstance(one, TextInput) else one
    if is_web_address(text):
        raise ImageUrlNotFetchedError(param="input")
    return EmbeddingItem("image" if are_images or is_data_uri(text) else "text", text)


def _of_messages(messages: list[_Message]) -> list[EmbeddingItem]:
    """The one text or image of a conversation. Raises BadRequestError for more than one thing."""
    items: list[EmbeddingItem] = []
    for message in messages:
        if isinstance(message.content, str):
            items.append(_item(message.content))
            continue
        for part in message.content:
            if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                items.append(_item(ImageInput(image=url)))
            elif part.text:
                items.append(_item(part.text))
    if len(items) != 1:
        raise BadRequestError(
            "messages: one text or one image makes one vector; no model here puts both into one.",
            param="messages",
        )
    return items
