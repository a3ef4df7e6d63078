"""What several routes share: who may call, an upload, and the ids in an address.

Knows requests; knows nothing of any one noun.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Depends, Path

from app.access import Caller, require
from app.errors import ExampleNotFoundError
from app.forms import Upload, receive_upload

Recogniser = Annotated[Caller, Depends(require("recognise"))]
Learner = Annotated[Caller, Depends(require("learn"))]
Uploaded = Annotated[Upload, Depends(receive_upload)]
CollectionPath = Annotated[str, Path(description="Name of a collection.", examples=["default"])]


def example_id(text: str) -> uuid.UUID:
    """An example's id; raises ExampleNotFoundError for what cannot be one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ExampleNotFoundError from None
