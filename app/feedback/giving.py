"""What happens when a client says what a picture shows that was asked about: it is taught at once, and counted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from app.access.quota import StorageQuota
from app.collections import vectors
from app.collections.directory import KnownCollection
from app.collections.judging import JudgedImages, judge_images
from app.collections.learning import Learning
from app.collections.service import (
    NewExample,
    Recognition,
    add_examples,
    find_collection,
    lock_images,
    settle_labels,
)
from app.errors import ConflictError
from app.feedback import outcomes, repository
from app.feedback.deciding import Decider, Deciding
from app.feedback.decisions import Decision, Taught, Verdict
from app.feedback.errors import NothingToConfirmError, PictureNotKeptError
from app.feedback.scoring import Scored, score_row
from app.feedback.tables import ReviewPicture
from app.http.spool import Entry
from app.observability.metrics import Metrics
from app.storage.blobs import BlobStore
from app.storage.database import Database


@dataclass(eq=False)
class Feedback:
    """Feedback on answers, by the picture or by the request that asked."""

    database: Database
    recognition: Recognition
    learning: Learning
    deciding: Deciding
    blobs: BlobStore
    quota: StorageQuota
    metrics: Metrics

    async def give(self, decider: Decider, collection: str, image: Entry, verdict: Verdict) -> Taught:
        """Teach a picture's label, or note that it shows none of them; saying the same twice is saying it once.

        Raises CollectionNotFoundError, NothingToConfirmError, WorkspaceFullError and what reading, embedding and
        keeping an image raises.
        """
        known = await self.recognition.known(decider.workspace, collection)
        stored = await self.learning.normalise(image, 0, 1)
        sha256 = hashlib.sha256(stored.bytes).hexdigest()
        async with self.database.session() as session:
            kept = await repository.find_by_image(session, known.id, sha256)
        if kept is not None and kept.decision is None:
            return await self._decide(decider, known, kept, verdict)
        judged = await judge_images(self.recognition, known, [image])
        said = _read_answer(judged, known)
        if verdict.kind == "right" and (said is None or said.rejected):
            raise NothingToConfirmError
        if verdict.kind != "none":
            await self.quota.take(known.workspace, len(stored.bytes))
        taught = await self._teach(known, judged, said, stored.bytes, sha256, verdict)
        if taught.decision is not None:
            self.metrics.observe_decision(taught.decision)
        return taught

    async def give_by_request(
        self, decider: Decider, collection: str, request_id: str, verdict: Verdict
    ) -> Taught:
        """The same of the picture that a request asked about, while the review queue keeps it; the picture is decided
        there too.

        Raises CollectionNotFoundError, PictureNotKeptError, NothingToConfirmError, and AlreadyDecidedError where
        something else was said before.
        """
        known = await self.recognition.known(decider.workspace, collection)
        async with self.database.session() as session:
            reviewed = await repository.read_reviewed(session, known.id)
            rows = await repository.find_by_request(session, reviewed, request_id, limit=2)
        if len(rows) > 1:
            raise PictureNotKeptError(
                "That request asked about several pictures: send the image itself, or decide each in the review queue."
            )
        if not rows:
            raise PictureNotKeptError(
                f"The review queue of '{known.name}' does not keep the picture of that request (any more): send the"
                " image itself."
            )
        return await self._decide(decider, known, rows[0], verdict)

    async def _decide(
        self, decider: Decider, known: KnownCollection, kept: ReviewPicture, verdict: Verdict
    ) -> Taught:
        """Decide a picture that the queue keeps; the same word as before changes nothing."""
        if verdict.kind == "right" and kept.rejected:
            raise NothingToConfirmError
        said = verdict.decide(kept.guess)
        if kept.decision is not None and (kept.decision, kept.label) == said:
            current = await self.recognition.known(decider.workspace, known.name)
            return Taught(kept.example_id, kept.label, current.version, said[0])
        (decided,) = await self.deciding.decide(decider, known.name, [kept.id], verdict, "feedback")
        return Taught(decided.example, decided.label, decided.collection_version, decided.decision)

    async def _teach(
        self,
        known: KnownCollection,
        judged: JudgedImages,
        said: Scored | None,
        stored: bytes,
        sha256: str,
        verdict: Verdict,
    ) -> Taught:
        """One transaction: the example, where there is one, and what was said of the answer."""
        decision, label = verdict.decide("" if said is None else said.guess)
        example, others = None, tuple[str, ...]()
        async with self.database.session() as session:
            await lock_images(session, [sha256])
            if label is not None:
                await self.blobs.put(sha256, stored)
            row = await find_collection(session, known.workspace, known.name, lock=True)
            if row.id != known.id or row.encoder != known.encoder:
                self.recognition.directory.forget(known.workspace, known.name)
                raise ConflictError("The collection was replaced meanwhile: try again.")
            version = row.version
            if label is not None:
                await vectors.ensure_index(session, judged.encoder, judged.vectors.shape[1])
                new = NewExample(sha256, vectors.to_sql(judged.vectors[0]), len(stored))
                added = await add_examples(session, row, label, "", [new], judged.encoder)
                added = await settle_labels(session, row, label, added, replace=False)
                example, others = added[0].id, added[0].other_labels
            if said is not None:
                told = None if said.rejected else said.guess
                decision = _compare(told, decision, label)
                decision = await outcomes.put(session, row.id, sha256, "feedback", told, decision, label)
        self.recognition.directory.learn(row)
        if row.version != version:
            await self.recognition.directory.announce(row)
        return Taught(example, label, row.version, None if said is None else decision, others)


def _read_answer(judged: JudgedImages, known: KnownCollection) -> Scored | None:
    """What the collection says of the one image; None where it was taught nothing."""
    if (judgement := judged.judgement) is None:
        return None
    return score_row(judgement.labels, judgement.prediction, 0, judgement.threshold, known.version)


def _compare(told: str | None, decision: Decision, label: str | None) -> Decision:
    """What counts: whether the answer was right, none of the labels included."""
    if label is None:
        return "right" if told is None else decision
    return "right" if told == label else "relabelled"
