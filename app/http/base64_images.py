"""Images written as text: base64, with or without a data: URI around it.

Knows the alphabet; knows nothing of images. No address is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import re

from app import errors
from app.http.multipart import is_file_name

_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"(https?|ftp|file|s3|gs):", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")


def decode_text(name: str, text: str) -> bytes:
    """The bytes that `text`, the value of the field `name`, stands for; raises `InvalidInputError`."""
    head = _DATA_URI.match(text)
    if head is None and _ADDRESS.match(text):
        raise errors.InvalidInputError(f"{name}: addresses are not fetched; send the image itself.")
    letters = text[head.end() if head else 0 :].translate(_SPACE)
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
