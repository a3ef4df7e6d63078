"""What a program may pass as an image, and how it becomes the bytes that are sent."""

from __future__ import annotations

import base64
import binascii
import io
import os
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote_to_bytes

from PIL import Image


class ImageArray(Protocol):
    """An array that shares its memory the way NumPy's do: uint8, height x width (grey) or height x width x 3 or 4."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


ImageInput = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | ImageArray | IO[bytes]
"""A path, a `data:` URI, the bytes of an image file, a Pillow image, an array, or a file opened for reading bytes."""


def read_image(image: ImageInput) -> tuple[str, bytes]:
    """A file name and the bytes to send.

    Files and bytes are sent as they are; Pillow images and arrays as PNG, without loss. A file object is read from its
    position to its end.

    Raises OSError for a file that cannot be read, TypeError for what is no image, ValueError for a `data:` URI or an
    array that cannot be read as an image.
    """
    if isinstance(image, str) and image[:5].lower() == "data:":
        return "image", _from_data_uri(image)
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        # a file's name need not be text, but must be to be sent
        return path.name.encode("utf-8", "replace").decode(), path.read_bytes()
    if isinstance(image, bytes | bytearray | memoryview):
        return "image", bytes(image)
    if isinstance(image, Image.Image):
        return "image.png", _to_png(image)
    if hasattr(image, "__array_interface__"):
        return "image.png", _to_png(_from_array(image))
    if hasattr(image, "read"):
        content = image.read()
        if not isinstance(content, bytes):
            raise TypeError("open the image's file for reading bytes: mode 'rb'")
        return os.path.basename(str(getattr(image, "name", "") or "image")), content
    raise TypeError(
        f"{type(image).__name__} is no image: pass a path, bytes, a Pillow image, an array or a file"
    )


def to_data_uri(image: ImageInput) -> str:
    """The image as base64 in JSON carries it."""
    return f"data:application/octet-stream;base64,{base64.b64encode(read_image(image)[1]).decode()}"


def _from_data_uri(uri: str) -> bytes:
    head, comma, content = uri.partition(",")
    if not comma:
        raise ValueError("the data: URI has no comma before its content")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(content)
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the data: URI is no base64: {error}") from None


def _from_array(array: ImageArray) -> Image.Image:
    kind, shape = array.__array_interface__["typestr"], array.__array_interface__["shape"]
    # a float array may hold 0..1 or 0..255: which one is not for this function to guess
    if kind[1:] != "u1" or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise ValueError(
            f"an image is an array of uint8, height x width or height x width x 3 or 4, not {kind} of shape {shape}"
        )
    return Image.fromarray(array)


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # PNG knows neither CMYK, YCbCr, Lab and HSV nor floats
    known = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
    (image if image.mode in known else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
