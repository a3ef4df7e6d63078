"""Requests and replies of the Open Inference Protocol: JSON, or JSON followed by raw tensors (the binary extension)."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.compat.reading import Body, parse_body
from app.errors import BadRequestError, InvalidInputError, TooLargeError
from app.http.base64_images import decode_text
from app.http.errors import TooManyPartsError
from app.http.fields import FIRST_WRONG
from app.settings import Settings

HEADER_LENGTH = "inference-header-content-length"
_LENGTH = struct.Struct("<I")


class TensorParameters(Body):
    """What a tensor says of itself."""

    binary_data_size: int | None = Field(None, ge=0)
    binary_data: bool | None = None
    classification: int | None = Field(None, ge=1)


class InputTensor(Body):
    """An input; `data` is absent where its bytes follow the JSON."""

    name: str
    shape: Annotated[list[int], FIRST_WRONG]
    datatype: str
    data: Annotated[list[Any], FIRST_WRONG] | None = None
    parameters: TensorParameters = TensorParameters()


class OutputTensor(Body):
    """An output that is wanted."""

    name: str
    parameters: TensorParameters = TensorParameters()


class RequestParameters(Body):
    """What the whole request says of itself."""

    top_k: int | None = Field(None, ge=1)
    binary_data_output: bool = False


class InferBody(Body):
    """`POST /v2/models/{model}/infer`."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[InputTensor], FIRST_WRONG] = Field(min_length=1)
    outputs: Annotated[list[OutputTensor], FIRST_WRONG] = Field([])


@dataclass(frozen=True)
class Tensor:
    """An output: texts, float32 numbers or truth values of any shape."""

    name: str
    data: list[str] | NDArray[np.float32] | NDArray[np.bool_]
    shape: tuple[int, ...]


def inflate(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """A compressed body, at most `max_bytes` long; raises BadRequestError and TooLargeError."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "deflate"):
        raise BadRequestError("Content-Encoding is gzip, deflate or nothing.")
    reader = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        found = reader.decompress(data, max_bytes + 1)
    except zlib.error:
        raise BadRequestError(f"The body is not {encoding}.") from None
    if len(found) > max_bytes:
        raise TooLargeError
    if not reader.eof or reader.unused_data:
        raise BadRequestError(f"The body is not whole {encoding}.")
    return found


def read_request(body: bytes, header_length: str | None, settings: Settings) -> tuple[InferBody, bytes]:
    """The JSON, and the raw tensors after it. Raises BadRequestError."""
    if header_length is None:
        return parse_body(body, InferBody, settings), b""
    if not header_length.isascii() or not header_length.isdigit() or int(header_length[:12]) > len(body):
        raise BadRequestError("Inference-Header-Content-Length is not the length of the JSON in this body.")
    size = int(header_length[:12])
    return parse_body(body[:size], InferBody, settings), body[size:]


def read_images(asked: InferBody, raw: bytes, max_images: int) -> list[bytes]:
    """The elements of the input `image`, BYTES of shape [n] or [n, 1]. Raises BadRequestError and
    TooManyPartsError.
    """
    images: list[bytes] | None = None
    place = 0
    for tensor in asked.inputs:
        size = tensor.parameters.binary_data_size
        part = b""
        if size is not None:
            part, place = raw[place : place + size], place + size
            if len(part) < size:
                raise BadRequestError(
                    f"inputs: the body ends before the bytes of '{tensor.name}' do.", param="inputs"
                )
        if tensor.name == "image":
            images = _elements(tensor, part, max_images)
    if images is None:
        raise BadRequestError("inputs: there is no input named 'image'.", param="inputs")
    return images


def _elements(tensor: InputTensor, part: bytes, max_images: int) -> list[bytes]:
    if tensor.datatype != "BYTES":
        raise BadRequestError(
            "inputs: 'image' is of the datatype BYTES: one whole image file an element.", param="inputs"
        )
    if len(tensor.shape) not in (1, 2) or tensor.shape[0] < 1 or tensor.shape[1:] not in ([], [1]):
        raise BadRequestError("inputs: the shape of 'image' is [n] or [n, 1].", param="inputs")
    count = tensor.shape[0]
    if count > max_images:
        raise TooManyPartsError(f"One request takes at most {max_images} images.")
    if tensor.parameters.binary_data_size is not None:
        found = _split(part, count)
    else:
        found = [_decode(element) for element in islice(_flatten(tensor.data or []), count + 1)]
    if len(found) != count:
        raise BadRequestError(
            f"inputs: 'image' does not hold the {count} elements that its shape says.", param="inputs"
        )
    return found


def _split(part: bytes, count: int) -> list[bytes]:
    """Elements, each after its length as a little-endian uint32; of more than `count` one too many."""
    found: list[bytes] = []
    place = 0
    while place < len(part) and len(found) <= count:
        if place + _LENGTH.size > len(part):
            raise BadRequestError(
                "inputs: the bytes of 'image' are not elements with their lengths.", param="inputs"
            )
        (size,) = _LENGTH.unpack_from(part, place)
        place += _LENGTH.size
        if place + size > len(part):
            raise BadRequestError("inputs: an element of 'image' ends after the body.", param="inputs")
        found.append(part[place : place + size])
        place += size
    return found


def _flatten(data: Sequence[Any]) -> Iterator[Any]:
    return (element for row in data for element in (row if isinstance(row, list) else [row]))


def _decode(element: Any) -> bytes:
    if not isinstance(element, str):
        raise BadRequestError("inputs: an element of 'image' is base64 text.", param="inputs")
    try:
        return decode_text("inputs", element)
    except InvalidInputError as error:
        raise BadRequestError(error.detail, param="inputs") from None


def write_reply(
    head: dict[str, Any], tensors: Sequence[Tensor], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """The reply's body and headers, in JSON, or as JSON followed by the tensors' bytes."""
    outputs, parts = [], []
    for tensor in tensors:
        about: dict[str, Any] = {
            "name": tensor.name,
            "datatype": _datatype(tensor),
            "shape": list(tensor.shape),
        }
        if binary:
            part = _raw(tensor)
            parts.append(part)
            about["parameters"] = {"binary_data_size": len(part)}
        else:
            about["data"] = tensor.data if isinstance(tensor.data, list) else tensor.data.ravel().tolist()
        outputs.append(about)
    text = json.dumps({**head, "outputs": outputs}, ensure_ascii=False, separators=(",", ":")).encode()
    if not binary:
        return text, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join([text, *parts]), headers


def _datatype(tensor: Tensor) -> str:
    if isinstance(tensor.data, list):
        return "BYTES"
    return "BOOL" if tensor.data.dtype == np.bool_ else "FP32"


def _raw(tensor: Tensor) -> bytes:
    if isinstance(tensor.data, list):
        words = [word.encode() for word in tensor.data]
        return b"".join(_LENGTH.pack(len(word)) + word for word in words)
    return tensor.data.astype("?" if tensor.data.dtype == np.bool_ else "<f4").tobytes()
