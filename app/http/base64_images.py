"""Images written as text: base64, with or without a data: URI around it.

No address is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from app import errors
from app.http.multipart import is_file_name

_DATA_URI = re.compile(r"\s*data:(?P<about>[^,\s]{0,500}),", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*(https?|ftp|file|s3|gs):", re.IGNORECASE)
_WEB_ADDRESS = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")
HEAD_BYTES = 600
"""How much of a text `is_data_uri` and `is_web_address` need to see."""


def is_data_uri(text: str) -> bool:
    """Whether a text that may also be words is an image: a data: URI of an image, or of base64."""
    head = _DATA_URI.match(text[:HEAD_BYTES])
    about = head["about"].lower() if head else ""
    return about.startswith("image/") or about.endswith(";base64")


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https address and nothing else."""
    return _WEB_ADDRESS.fullmatch(text) is not None


def refuse_address(name: str) -> errors.InvalidInputError:
    """The error for an address in the place of an image; `name` is the field's."""
    return errors.InvalidInputError(
        f"{name}: addresses are not fetched; send the image itself, as a file, as base64 or as a data: URI."
    )


def decode_text(name: str, text: str) -> bytes:
    """The bytes that `text`, the value of the field `name`, stands for; raises `InvalidInputError`."""
    head = _DATA_URI.match(text)
    if head is None and _ADDRESS.match(text):
        raise refuse_address(name)
    letters = text[head.end() if head else 0 :]
    if head is not None and not head["about"].lower().endswith(";base64"):
        raise errors.InvalidInputError(f"{name}: this is neither base64 nor a data: URI of base64.")
    if "%" in letters:  # base64 on its way through an address
        letters = unquote_to_bytes(letters).decode("latin-1")
    letters = letters.translate(_SPACE)
    if "-" in letters or "_" in letters:
        letters = letters.replace("-", "+").replace("_", "/")
    letters = letters.rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        hint = (
            " A file's name is not opened here."
            if is_file_name(text[:2_000].encode("utf-8", "replace"))
            else ""
        )
        raise errors.InvalidInputError(f"{name}: this is neither base64 nor a data: URI.{hint}") from None
