"""What the routes of collections are given, and what several share: who may call, an upload, ids in an address."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from app import errors
from app.collections.learning import Learning
from app.collections.rebinding import Rebinding
from app.collections.service import Recognition
from app.collections.thumbnails import Thumbnails
from app.http.dependencies import find_service
from app.http.errors import (
    SlowUploadError,
    TooManyPartsError,
    TooManyUploadsError,
    TooManyValuesError,
    UnsupportedMediaTypeError,
)
from app.inference.errors import DeadlineExceededError, ModelUnavailableError, OutOfMemoryError
from app.media.errors import ImageTooLargeError, InvalidImageError
from app.storage.errors import StoreUnavailableError

RecognitionService = Annotated[Recognition, Depends(find_service("recognition", Recognition))]
LearningService = Annotated[Learning, Depends(find_service("learning", Learning))]
RebindingService = Annotated[Rebinding, Depends(find_service("rebinding", Rebinding))]
ThumbnailService = Annotated[Thumbnails, Depends(find_service("thumbnails", Thumbnails))]
CollectionPath = Annotated[str, Path(description="Name of a collection.", examples=["default"])]

# A route's own answer of a status replaces what every route may answer with it, so these are named again.
MODEL_ERRORS: tuple[type[errors.VisionError], ...] = (
    errors.OverloadedError,
    StoreUnavailableError,
    errors.NotReadyError,
    DeadlineExceededError,
    OutOfMemoryError,
    ModelUnavailableError,
)
"""What a route may answer that needs a model."""
UPLOAD_ERRORS: tuple[type[errors.VisionError], ...] = (
    SlowUploadError,
    errors.TooLargeError,
    TooManyPartsError,
    TooManyValuesError,
    ImageTooLargeError,
    UnsupportedMediaTypeError,
    errors.InvalidInputError,
    InvalidImageError,
    errors.CheckLimitError,
    TooManyUploadsError,
    *MODEL_ERRORS,
)
"""What a route may answer that takes images."""
