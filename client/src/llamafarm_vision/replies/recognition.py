"""Replies about labels: classification, examples, collections, search, embeddings."""

from __future__ import annotations

import base64
import struct
from datetime import datetime
from typing import Any

from pydantic import field_validator

from llamafarm_vision.replies.base import ReplyModel
from llamafarm_vision.replies.review import ReviewSpan


class Score(ReplyModel):
    """One label and how likely it is."""

    label: str
    score: float
    """Calibrated probability."""
    similarity: float | None
    """Cosine to the nearest exemplars of the label; None in zero-shot."""


class ClassifyTiming(ReplyModel):
    """Where the time went, in milliseconds; of all images of the request together."""

    decode: float
    embed: float
    score: float
    total: float


class AnswerSetWarning(ReplyModel):
    """What to know of an answer set before relying on it."""

    code: str
    sentence: str


class AnswerSet(ReplyModel):
    """The labels that an image may show, if it shows any of them."""

    coverage: float
    guarantee: str
    """What holds with that probability: `label`, `average` or `none`."""
    labels: list[str]
    """The likeliest first; at least one, also of an image that is rejected."""
    warnings: list[AnswerSetWarning]


class Hit(ReplyModel):
    """An example near what was searched for."""

    id: str
    label: str
    similarity: float
    """Cosine."""
    image: str
    """Where its thumbnail is."""


class Classification(ReplyModel):
    """What an image shows."""

    label: str | None
    """The likeliest label; None where it is rejected."""
    scores: list[Score]
    """The likeliest labels, best first."""
    rejected: bool
    """Whether the best score is below the threshold."""
    none: float
    """Probability of no matching label; with all scores it adds up to 1."""
    model: str
    collection: str | None
    """None in zero-shot."""
    timing_ms: ClassifyTiming
    answer_set: AnswerSet | None = None
    """None where no coverage was asked for."""
    neighbours: list[Hit] | None = None
    """The nearest examples, best first; None where they were not asked for, and empty in zero-shot."""


class Example(ReplyModel):
    """One image of one label."""

    id: str
    label: str
    collection: str
    image_sha256: str
    """Of the stored image, which is upright and without metadata."""
    image: str
    """Where its thumbnail is."""
    created_at: datetime


class AddedExample(ReplyModel):
    """An example just taught."""

    id: str
    label: str
    collection: str
    image_sha256: str
    image: str
    created: bool
    """False where the same image had this label before."""
    other_labels: list[str]
    """Other labels that the same image has in this collection; `replace` takes them away."""
    replaced_labels: list[str]
    """Labels that `replace` took away from the image."""


class ChangedExamples(ReplyModel):
    """The result of changing several examples."""

    label: str | None
    """The label that they have; None where they were forgotten."""
    changed: list[str]
    """Those that had another label before."""
    unchanged: list[str]
    """Those that had it already."""
    removed: list[str]
    """Those that are gone."""
    collection_version: int


class RenamedLabel(ReplyModel):
    """A label with its new name."""

    label: str
    description: str
    examples: int
    removed: list[str]
    """Examples that are gone, since the label they were merged into had their images already."""
    collection_version: int


class Label(ReplyModel):
    """One label of a collection."""

    label: str
    description: str
    examples: int


class Collection(ReplyModel):
    """A collection and how much is in it."""

    name: str
    encoder: str
    label_shares: str = "equal"
    """`equal`, or `examples`: each label is expected as often as there are examples of it."""
    version: int
    """Grows by one with each change of its examples or descriptions."""
    review: ReviewSpan | None = None
    """What it keeps for review; None where it keeps no pictures."""
    labels: int
    examples: int
    """Images with a label."""
    answers: int
    """Examples of questions with their answers."""
    created_at: datetime


class SearchResult(ReplyModel):
    """The nearest examples, best first."""

    data: list[Hit]
    model: str
    collection: str


class Embedding(ReplyModel):
    """One vector of unit length."""

    object: str = "embedding"
    index: int
    embedding: list[float]

    @field_validator("embedding", mode="before")
    @classmethod
    def _unpack(cls, value: Any) -> Any:
        # base64 of little-endian float32 is a third of the numbers' text
        if not isinstance(value, str):
            return value
        content = base64.b64decode(value)
        return list(struct.unpack(f"<{len(content) // 4}f", content))


class EmbeddingUsage(ReplyModel):
    """How much was embedded; images and texts count one each."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(ReplyModel):
    """Vectors in the order of the inputs; images come before texts."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Suspect(ReplyModel):
    """An example whose label the other examples contradict."""

    id: str
    label: str
    told: str
    """The label that the others tell when it is left out."""
    probability: float
    """That its own label is right."""
    image: str
    """Where its thumbnail is."""


class LabelHealth(ReplyModel):
    """How well one label is learned."""

    label: str
    examples: int
    recall: float | None
    """Share of its examples that are predicted right when left out; None where none can be."""


class NearDuplicate(ReplyModel):
    """Two examples that are nearly the same picture."""

    examples: tuple[str, str]
    labels: tuple[str, str]
    """Of the one and of the other example."""
    similarity: float
    """Cosine, above .98."""
    images: tuple[str, str]
    """Where their thumbnails are."""


class OverlappingLabels(ReplyModel):
    """Two labels that are hard to distinguish."""

    labels: tuple[str, str]
    share: float | None
    """Share of their examples that are predicted as the other one when left out; None where none was left out."""
    similarity: float | None
    """Mean cosine of an example of the one and one of the other; None where none was compared."""
    sentence: str


class SmallLabel(ReplyModel):
    """A label of fewer than three examples."""

    label: str
    examples: int


class CollectionHealth(ReplyModel):
    """What may be wrong with a collection's examples."""

    collection: str
    examples: int
    examined: int
    suspects: list[Suspect]
    """The most suspect first."""
    suspects_total: int
    labels: list[LabelHealth]
    """The least recall first."""
    labels_total: int
    near_duplicates: list[NearDuplicate] = []
    """Those of different labels first, then the most alike; without one of each pair none is left."""
    near_duplicates_total: int = 0
    overlapping_labels: list[OverlappingLabels] = []
    """The worst first."""
    overlapping_labels_total: int = 0
    small_labels: list[SmallLabel] = []
    """The fewest examples first."""
    small_labels_total: int = 0
    notes: list[str]
    """What the figures leave out, in sentences."""
