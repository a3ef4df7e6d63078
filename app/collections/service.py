"""What happens when something is classified, searched or embedded: encoder, head, answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.collections import repository
from app.collections.coverage import PredictionSets, cover
from app.collections.directory import Directory, KnownCollection
from app.collections.embedding import EmbeddingResult, ImageEmbedder
from app.collections.errors import EmptyCollectionError, EncoderMismatchError
from app.collections.given_answers import AnswerListener, GivenAnswer
from app.collections.head_store import HeadStore
from app.collections.health import HealthReport, examine
from app.collections.nearest import Near, nearest
from app.collections.renewal import ExampleRenewal
from app.collections.repository import (
    AddResult,
    NewExample,
    add_examples,
    count_stored_bytes,
    find_collection,
    find_labels_of,
    lock_images,
    remove_examples,
    settle_labels,
)
from app.collections.tables import Collection
from app.errors import InvalidInputError
from app.heads import Head, Prediction
from app.http.names import collection_of, is_collection_name
from app.http.spool import Entry
from app.inference.engine.interface import Engine, ServedEncoder
from app.inference.errors import BaseModelChangedError
from app.inference.model_info import ModelInfo
from app.models.classifiers import TrainedClassifier
from app.models.resolver import ModelResolver
from app.models.service import ModelRecord, TrainedModels
from app.observability.metrics import Metrics
from app.storage.database import DEFAULT_COLLECTION, Database

__all__ = [
    "AddResult",
    "ClassifyRequest",
    "ClassifyResult",
    "Collection",
    "NewExample",
    "Recognition",
    "add_examples",
    "count_stored_bytes",
    "find_collection",
    "find_labels_of",
    "lock_images",
    "remove_examples",
    "settle_labels",
]


@dataclass(frozen=True)
class ClassifyRequest:
    """What a client wants to know of its images; `labels` asks without a collection."""

    collection: str | None = None
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    model: str | None = None
    coverage: float | None = None
    """The probability with which a set of labels shall hold the right one; None asks for no sets."""
    neighbours: int = 0
    """How many of the nearest examples to tell of each image; 0 asks for none."""


@dataclass(frozen=True)
class ClassifyResult:
    """What a head said of all images of a request, and where the time went in milliseconds."""

    labels: list[str]
    prediction: Prediction
    threshold: float
    model: str
    collection: str | None
    decode_ms: float
    embed_ms: float
    score_ms: float
    total_ms: float
    prediction_sets: PredictionSets | None
    """Where a coverage was asked for."""
    neighbours: Sequence[Sequence[Near]] | None
    """An image: the nearest examples, best first, none where no collection answered; None: not asked for."""


@dataclass(eq=False)
class Recognition:
    """Answers by the models, heads and vectors of one process."""

    database: Database
    registry: Engine
    models: ModelResolver
    directory: Directory
    heads: HeadStore
    renewal: ExampleRenewal
    embedder: ImageEmbedder
    metrics: Metrics
    trained: TrainedModels
    deadline_s: float = field(kw_only=True)
    listener: AnswerListener | None = field(default=None, init=False)
    """Whoever keeps pictures for review, from when that room is open."""
    _examining: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    """One examination at a time: each may read every vector of a collection."""

    async def classify(
        self, workspace: str, images: Sequence[Entry], question: ClassifyRequest
    ) -> ClassifyResult:
        """What the images show, in order.

        Raises CollectionNotFoundError, EmptyCollectionError, EncoderMismatchError, ModelNotFoundError,
        BaseModelChangedError, ModelTaskError, InvalidInputError for labels beside a trained classifier, and
        what reading and embedding an image raises.
        """
        began = time.perf_counter()
        found = await self._find(workspace, question.model)
        if isinstance(found, ModelRecord):
            classifier, word = await self.trained.classifier(workspace, found)
            return await self._classify_by_trained_model(workspace, images, question, classifier, word, began)
        known = (
            None
            if question.labels
            else await self.resolve_collection(workspace, question.collection or DEFAULT_COLLECTION)
        )
        async with self._encoder(known, found) as live:
            if known is None:
                head = await self.heads.zero_shot(live, question.labels)
            else:
                head = await self.heads.head(known, live)
            embedded = await self.embedder.embed(workspace, live, images)
            neighbours = await self._neighbours(known, live, embedded, question)
        name = None if known is None else known.name
        answer = self._answer(head, embedded, question, live.name, name, began, neighbours)
        if known is not None and known.is_reviewed and self.listener is not None:
            said = (head.labels, answer.prediction, head.threshold)
            self.listener.hear(GivenAnswer(known, live.key, images, embedded.vectors, *said))
        return answer

    async def _neighbours(
        self,
        known: KnownCollection | None,
        live: ServedEncoder,
        embedded: EmbeddingResult,
        question: ClassifyRequest,
    ) -> list[list[Near]]:
        """For each image the examples that are nearest to it; none of labels that have no examples."""
        if known is None or not question.neighbours:
            return [[] for _ in embedded.vectors]
        async with self.database.session() as session:
            return [
                await nearest(session, known.id, live.key, vector, question.neighbours)
                for vector in embedded.vectors
            ]

    async def _classify_by_trained_model(
        self,
        workspace: str,
        images: Sequence[Entry],
        question: ClassifyRequest,
        classifier: TrainedClassifier,
        encoder: str,
        began: float,
    ) -> ClassifyResult:
        """By a trained classifier, which has labels of its own."""
        if question.labels or question.collection is not None:
            raise InvalidInputError(
                f"The model '{question.model}' has labels of its own: leave out `labels` and `collection`."
            )
        async with self._open_trained_encoder(classifier, encoder) as live:
            embedded = await self.embedder.embed(workspace, live, images)
        return self._answer(
            classifier, embedded, question, question.model or "", None, began, [[] for _ in images]
        )

    def _answer(
        self,
        head: Head | TrainedClassifier,
        embedded: EmbeddingResult,
        question: ClassifyRequest,
        model: str,
        collection: str | None,
        began: float,
        neighbours: Sequence[Sequence[Near]],
    ) -> ClassifyResult:
        self.metrics.cpu.begin()
        scoring = time.perf_counter()
        prediction = head.predict(embedded.vectors)
        prediction_sets = (
            None if question.coverage is None else cover(head, prediction.scores, question.coverage)
        )
        ended = time.perf_counter()
        self.metrics.observe_stage("head", ended - scoring)
        return ClassifyResult(
            labels=head.labels,
            prediction=prediction,
            threshold=head.threshold if question.threshold is None else question.threshold,
            model=model,
            collection=collection,
            decode_ms=embedded.decode_ms,
            embed_ms=embedded.embed_ms,
            score_ms=1e3 * (ended - scoring),
            total_ms=1e3 * (ended - began),
            prediction_sets=prediction_sets,
            neighbours=neighbours if question.neighbours else None,
        )

    async def search(
        self, workspace: str, collection: str, images: Sequence[Entry], text: str | None, limit: int
    ) -> tuple[list[Near], str]:
        """The examples nearest to the one image or the text, and the encoder that compared them."""
        known = await self.resolve_collection(workspace, collection)
        async with self._encoder(known, None) as live:
            if text is None:
                vector = (await self.embedder.embed(workspace, live, images)).vectors[0]
            else:
                vector = (await live.embed_texts([text], deadline_s=self.deadline_s))[0]
            async with self.database.session() as session:
                return await nearest(session, known.id, live.key, vector, limit), live.name

    async def embed(
        self, workspace: str, images: Sequence[Entry], texts: Sequence[str], model: str | None
    ) -> tuple[NDArray[np.float32], str]:
        """float32[images + texts, d], and the model's name.

        The vectors of a trained classifier are those that its encoder makes, before any projection of its own:
        images and texts of one space; `collection/<name>` means the encoder that the collection is bound to. Raises as
        `classify` does.
        """
        word = model
        if (collection := collection_of(model)) is not None:
            word = self.name_encoder((await self.resolve_collection(workspace, collection)).encoder)
        found = await self._find(workspace, word)
        if isinstance(found, ModelRecord):
            encoder = self._open_trained_encoder(*await self.trained.classifier(workspace, found))
        else:
            encoder = self._encoder(None, found)
        async with encoder as live:
            vectors = np.concatenate(
                [
                    (await self.embedder.embed(workspace, live, images)).vectors,
                    await live.embed_texts(texts, deadline_s=self.deadline_s),
                ]
            )
            return vectors, found.card.id if isinstance(found, ModelRecord) else live.name

    async def examine(self, workspace: str, collection: str, limit: int, most: int) -> HealthReport:
        """What may be wrong with a collection's examples: at most `limit` findings of each kind, of at most `most`
        examples that are compared with one another.

        Raises CollectionNotFoundError, and what loading an encoder and embedding the labels' names raises.
        """
        known = await self.resolve_collection(workspace, collection)
        async with self._examining, self._encoder(known, None) as live:
            try:
                head = await self.heads.head(known, live)
            except EmptyCollectionError:
                head = None
            return await examine(self.database, known, head, live, limit, most)

    async def resolve_collection(self, workspace: str, collection: str) -> KnownCollection:
        """The collection; `default` is made where it is missing. Raises CollectionNotFoundError."""
        if not is_collection_name(collection):
            async with self.database.session() as session:
                raise await repository.absent_collection(session, workspace, collection)
        if collection == DEFAULT_COLLECTION:
            await self.ensure_default(workspace)
        return await self.directory.get(workspace, collection)

    async def names(self, ids: Set[uuid.UUID]) -> dict[uuid.UUID, str]:
        """What the collections of these ids are called; those still there."""
        if not ids:
            return {}
        async with self.database.session() as session:
            return await repository.names_of(session, ids)

    async def ensure_default(self, workspace: str) -> None:
        """Make a workspace's `default` collection, unless this process knows of it already.

        One that nobody taught anything yet follows the service's default encoder.
        """
        if self.directory.knows(workspace, DEFAULT_COLLECTION):
            return
        encoder = self.models.default_encoder
        async with self.database.session() as session:
            await repository.create_collection(session, workspace, DEFAULT_COLLECTION, encoder)
            row = await repository.find_collection(session, workspace, DEFAULT_COLLECTION, lock=True)
            if row.version == 0:
                row.encoder = encoder
        self.directory.learn(row)

    def name_encoder(self, encoder: str) -> str:
        """The name under which clients know what a collection is bound to."""
        return self.models.name_for_clients(encoder)

    async def _find(self, workspace: str, name: str | None) -> ModelRecord | ModelInfo | None:
        """The model that a client asked for, None where it named none; raises ModelNotFoundError."""
        return None if name is None else await self.models.find(workspace, name, "encoder")

    @asynccontextmanager
    async def _open_trained_encoder(
        self, classifier: TrainedClassifier, encoder: str
    ) -> AsyncIterator[ServedEncoder]:
        """The encoder that feeds a trained classifier; raises BaseModelChangedError."""
        async with self.registry.encoder(encoder) as live:
            if not classifier.adapted and live.fingerprint != classifier.note.base_fingerprint:
                raise BaseModelChangedError
            yield live

    @asynccontextmanager
    async def _encoder(
        self, known: KnownCollection | None, asked: ModelInfo | None
    ) -> AsyncIterator[ServedEncoder]:
        """The encoder that a client asked for, or that the collection is bound to and its vectors are of."""
        reference = None if asked is None else self.models.word_of(asked)
        if known is not None:
            if reference is not None and not self.models.is_same_encoder(reference, known.encoder):
                raise EncoderMismatchError(
                    f"The collection '{known.name}' is bound to the encoder "
                    f"'{self.models.name_for_clients(known.encoder)}': leave out `model`, or pass `labels` to classify "
                    "without the collection."
                )
            reference = known.encoder
        async with self.registry.encoder(reference) as live:
            if known is not None:
                await self.renewal.check(known, live.key)
            yield live
