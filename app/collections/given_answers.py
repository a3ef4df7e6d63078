"""The answers of collections for the listener that keeps pictures for review; `app.bootstrap` sets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.collections.directory import KnownCollection
from app.heads import Prediction
from app.http.spool import Entry


@dataclass(frozen=True)
class GivenAnswer:
    """What a collection said of the images of a request."""

    collection: KnownCollection
    encoder: str
    """The key of the encoder that made the vectors."""
    images: Sequence[Entry]
    """Closed when the request ends: a listener that needs one keeps it (`Entry.keep`)."""
    vectors: NDArray[np.float32]
    """float32[n, d] in the order of the images."""
    labels: list[str]
    prediction: Prediction
    threshold: float
    """The least score that the collection accepts, whatever the request asked for."""


class AnswerListener(Protocol):
    """Hears of each answer of a collection that keeps pictures for review, before the client does."""

    def hear(self, given: GivenAnswer) -> None:
        """Return at once and raise nothing: a request waits."""
