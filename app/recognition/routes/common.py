"""What several routes share: who may call, an upload, and the ids in an address.

Knows requests; knows nothing of any one noun.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Depends, Path

from app import errors
from app.access import Caller, require
from app.errors import ExampleNotFoundError
from app.forms import Upload, receive_upload

Recogniser = Annotated[Caller, Depends(require("recognise"))]
Learner = Annotated[Caller, Depends(require("learn"))]
Uploaded = Annotated[Upload, Depends(receive_upload)]
CollectionPath = Annotated[str, Path(description="Name of a collection.", examples=["default"])]

# A route's own answer of a status replaces what every route may answer with it, so these are named again.
MODEL_ERRORS: tuple[type[errors.VisionError], ...] = (
    errors.OverloadedError,
    errors.StoreUnavailableError,
    errors.NotReadyError,
    errors.DeadlineExceededError,
    errors.OutOfMemoryError,
    errors.ModelUnavailableError,
)
"""What a route may answer that needs a model."""
UPLOAD_ERRORS: tuple[type[errors.VisionError], ...] = (
    errors.SlowUploadError,
    errors.TooLargeError,
    errors.TooManyPartsError,
    errors.TooManyValuesError,
    errors.ImageTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.InvalidInputError,
    errors.InvalidImageError,
    errors.TooManyUploadsError,
    *MODEL_ERRORS,
)
"""What a route may answer that takes images."""


def example_id(text: str) -> uuid.UUID:
    """An example's id; raises ExampleNotFoundError for what cannot be one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ExampleNotFoundError from None
