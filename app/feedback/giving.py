"""What happens when a client says what a picture shows that was asked about: it is taught at once, and counted; or when
that is taken back.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from app.access.quota import StorageQuota
from app.collections import vectors
from app.collections.directory import KnownCollection
from app.collections.judging import JudgedImages, judge_images
from app.collections.learning import Learning
from app.collections.service import (
    AddResult,
    NewExample,
    Recognition,
    add_examples,
    find_collection,
    find_labels_of,
    lock_images,
    settle_labels,
)
from app.errors import ConflictError
from app.feedback import feedback_examples, outcomes, repository
from app.feedback.deciding import Decisions, Reviewer, let_wait, to_retention
from app.feedback.decisions import Decision, FeedbackResult, Verdict
from app.feedback.errors import NotDecidedError, NothingToConfirmError, PictureNotKeptError
from app.feedback.feedback_examples import RemovedExamples
from app.feedback.scoring import PredictionScores, score_row
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
    decisions: Decisions
    blobs: BlobStore
    quota: StorageQuota
    metrics: Metrics

    async def give(
        self, reviewer: Reviewer, collection: str, image: Entry, verdict: Verdict
    ) -> FeedbackResult:
        """Teach a picture's label, or note that it shows none of them, which forgets what feedback had taught of it.
        Saying the same twice is saying it once.

        Raises CollectionNotFoundError, NothingToConfirmError, WorkspaceFullError and what reading, embedding and
        keeping an image raises.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        stored = await self.learning.normalise(image, 0, 1)
        sha256 = hashlib.sha256(stored.bytes).hexdigest()
        async with self.database.session() as session:
            retention = await repository.read_retention(session, known.id)
            picture = await repository.find_by_image(session, retention, sha256)
        if picture is not None and picture.decision is None:
            return await self._decide(reviewer, known, picture, verdict)
        judged = await judge_images(self.recognition, known, [image])
        scores = _read_answer(judged, known)
        if verdict.kind == "right" and (scores is None or scores.rejected):
            raise NothingToConfirmError
        if verdict.kind != "none":
            await self.quota.take(known.workspace, len(stored.bytes))
        result = await self._teach(reviewer, known, judged, scores, stored.bytes, sha256, verdict)
        if result.decision is not None:
            self.metrics.observe_decision(result.decision)
        return result

    async def give_by_request(
        self, reviewer: Reviewer, collection: str, request_id: str, verdict: Verdict
    ) -> FeedbackResult:
        """The same of the picture that a request asked about, while the review queue keeps it; the picture is decided
        there too.

        Raises CollectionNotFoundError, PictureNotKeptError, NothingToConfirmError, and AlreadyDecidedError where
        something else was said before.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        return await self._decide(
            reviewer, known, await self._find_picture_of_request(known, request_id), verdict
        )

    async def take_back(self, reviewer: Reviewer, collection: str, image: Entry) -> FeedbackResult:
        """Take back what was said of a picture: what that taught is forgotten, it counts no more, and a picture of the
        review queue waits again.

        Raises CollectionNotFoundError, NotDecidedError and what reading an image raises.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        stored = await self.learning.normalise(image, 0, 1)
        sha256 = hashlib.sha256(stored.bytes).hexdigest()
        async with self.database.session() as session:
            row = await find_collection(session, known.workspace, known.name, lock=True)
            version = row.version
            picture = await repository.find_by_image(session, to_retention(row), sha256, lock=True)
            was_decided = picture is not None and picture.decision is not None
            removed = await feedback_examples.forget(session, row, sha256)
            was_counted = await outcomes.remove(session, row.id, sha256)
            if not (was_decided or was_counted or removed.labels):
                raise NotDecidedError("Nothing was said of this picture here: there is nothing to undo.")
            if picture is not None:
                let_wait(picture)
            others = await find_labels_of(session, row.id, sha256)
        await self.decisions.announce(row, has_changed=row.version != version)
        self.learning.drop_later(removed.images)
        self.metrics.observe_decision("undone")
        return FeedbackResult(None, None, row.version, None, tuple(others), removed.labels)

    async def take_back_by_request(
        self, reviewer: Reviewer, collection: str, request_id: str
    ) -> FeedbackResult:
        """The same of the picture that a request asked about, while the review queue keeps it.

        Raises CollectionNotFoundError, PictureNotKeptError and NotDecidedError.
        """
        known = await self.recognition.resolve_collection(reviewer.workspace, collection)
        picture = await self._find_picture_of_request(known, request_id)
        undone = await self.decisions.undo(reviewer, known.name, picture.id)
        others = await self._find_others(known, picture, None)
        return FeedbackResult(None, None, undone.collection_version, None, others, undone.replaced_labels)

    async def _find_picture_of_request(self, known: KnownCollection, request_id: str) -> ReviewPicture:
        """The one picture of a request that the queue keeps; raises PictureNotKeptError."""
        async with self.database.session() as session:
            retention = await repository.read_retention(session, known.id)
            rows = await repository.find_by_request(session, retention, request_id, limit=2)
        if len(rows) > 1:
            raise PictureNotKeptError(
                "That request asked about several pictures: send the image itself, or decide each in the review queue."
            )
        if not rows:
            raise PictureNotKeptError(
                f"The review queue of '{known.name}' does not keep the picture of that request (any more): send the"
                " image itself."
            )
        return rows[0]

    async def _find_others(
        self, known: KnownCollection, picture: ReviewPicture, label: str | None
    ) -> tuple[str, ...]:
        """The labels beside this one that a picture has."""
        async with self.database.session() as session:
            labels = await find_labels_of(session, known.id, picture.image_sha256)
        return tuple(name for name in labels if name != label)

    async def _decide(
        self, reviewer: Reviewer, known: KnownCollection, picture: ReviewPicture, verdict: Verdict
    ) -> FeedbackResult:
        """Decide a picture that the queue keeps; the same word as before teaches nothing."""
        if verdict.kind == "right" and picture.rejected:
            raise NothingToConfirmError
        outcome = verdict.decide(picture.guess)
        if picture.decision is not None and (picture.decision, picture.label) == outcome:
            return await self._repeat(known, picture, outcome[0], replace=verdict.replace)
        (decided,) = await self.decisions.decide(reviewer, known.name, [picture.id], verdict, "feedback")
        return FeedbackResult(
            decided.example,
            decided.label,
            decided.collection_version,
            decided.decision,
            await self._find_others(known, picture, decided.label),
            decided.replaced_labels,
        )

    async def _repeat(
        self, known: KnownCollection, picture: ReviewPicture, decision: Decision, *, replace: bool
    ) -> FeedbackResult:
        """The same word again: of a picture that still shows its label the others go, where that is asked for."""
        replaced: tuple[str, ...] = ()
        async with self.database.session() as session:
            row = await find_collection(session, known.workspace, known.name, lock=True)
            version, label = row.version, picture.label
            labels = await find_labels_of(session, row.id, picture.image_sha256)
            if replace and label in labels and picture.example_id is not None:
                example = AddResult(picture.example_id, picture.image_sha256, created=False)
                (settled,) = await settle_labels(session, row, label, [example], replace=True)
                replaced = settled.replaced_labels
        await self.decisions.announce(row, has_changed=row.version != version)
        others = tuple(name for name in labels if name not in (label, *replaced))
        return FeedbackResult(picture.example_id, label, row.version, decision, others, replaced)

    async def _teach(
        self,
        reviewer: Reviewer,
        known: KnownCollection,
        judged: JudgedImages,
        scores: PredictionScores | None,
        stored: bytes,
        sha256: str,
        verdict: Verdict,
    ) -> FeedbackResult:
        """One transaction: the example, where there is one, and what was said of the answer."""
        decision, label = verdict.decide("" if scores is None else scores.guess)
        removed = RemovedExamples()
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
                (example,) = await settle_labels(session, row, label, added, replace=verdict.replace)
                await feedback_examples.note(session, [example.id] if example.created else [])
                result = FeedbackResult(
                    example.id, label, row.version, None, example.other_labels, example.replaced_labels
                )
            else:
                removed = await feedback_examples.forget(session, row, sha256)
                others = await find_labels_of(session, row.id, sha256)
                result = FeedbackResult(None, None, row.version, None, tuple(others), removed.labels)
            picture = await repository.find_by_image(session, to_retention(row), sha256, lock=True)
            if picture is not None:
                # the queue says the same as what counts, which is of the answer now and not of the one it kept
                word = verdict if label is None else Verdict("label", label=label)
                if (picture.decision, picture.label) != (of_kept := word.decide(picture.guess)):
                    picture.decision, picture.label = of_kept
                    picture.decided_at, picture.decided_by = datetime.now(UTC), reviewer.key_id
                picture.example_id = result.example
            if scores is not None:
                answer = None if scores.rejected else scores.guess
                decision = _compare(answer, decision, label)
                decision = await outcomes.put(session, row.id, sha256, "feedback", answer, decision, label)
                result = dataclasses.replace(result, decision=decision)
        await self.decisions.announce(row, has_changed=row.version != version)
        self.learning.drop_later(removed.images)
        return result


def _read_answer(judged: JudgedImages, known: KnownCollection) -> PredictionScores | None:
    """What the collection says of the one image; None where it was taught nothing."""
    if (judgement := judged.judgement) is None:
        return None
    return score_row(judgement.labels, judgement.prediction, 0, judgement.threshold, known.version)


def _compare(answer: str | None, decision: Decision, label: str | None) -> Decision:
    """What counts: whether the answer was right, none of the labels included."""
    if label is None:
        return "right" if answer is None else decision
    return "right" if answer == label else "relabelled"
