"""Python client of llamafarm-vision.

`Vision` waits for its replies, `AsyncVision` awaits them; both have the same verbs. Replies are typed models
(`llamafarm_vision.replies`), failures are exceptions (`llamafarm_vision.errors`).
"""

from llamafarm_vision.client import AsyncVision, Vision
from llamafarm_vision.errors import (
    BusyError,
    ConflictError,
    DamagedFileError,
    ForbiddenError,
    InvalidInputError,
    JobFailedError,
    NotFoundError,
    RefusedError,
    ServiceFailedError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    VisionError,
)
from llamafarm_vision.images import ImageInput

__all__ = [
    "AsyncVision",
    "BusyError",
    "ConflictError",
    "DamagedFileError",
    "ForbiddenError",
    "ImageInput",
    "InvalidInputError",
    "JobFailedError",
    "NotFoundError",
    "RefusedError",
    "ServiceFailedError",
    "StorageFullError",
    "TooLargeError",
    "UnauthorizedError",
    "UnreachableError",
    "Vision",
    "VisionError",
]
