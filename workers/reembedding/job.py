"""Binds a collection to another encoder: every example embedded by it beside the old vectors, then one swap.

What was embedded stays for the next attempt; vectors of the old encoder stay too, so that the way back is short.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, text

from app.collections.errors import CollectionNotFoundError
from app.collections.vectors import ensure_index, to_sql
from app.errors import InvalidInputError, TooLargeError
from app.families.encoders import load_encoder, resolve
from app.inference import device
from app.inference.aspect import bound_aspect
from app.inference.protocols import Encoder, Pixels, TextEncoder, min_decoded_side, same_for_all
from app.inference.sources import EncoderConfig
from app.jobs import machine
from app.jobs.errors import NotTrainableError
from app.jobs.spec import Outcome
from app.media import images
from app.media.images import ImageLimits
from app.storage.database import Database
from workers.shared.method import StoppingError
from workers.shared.run import JobRun
from workers.shared.store import LostError

_CHUNK = 64
_FIRST = uuid.UUID(int=0)

_MISSING = (
    "FROM examples e WHERE e.collection_id = :collection AND NOT EXISTS "
    "(SELECT FROM example_vectors v WHERE v.example_id = e.id AND v.encoder = :key)"
)
_STALE = "FROM answer_examples a WHERE a.collection_id = :collection AND a.encoder <> :key"


@dataclass
class _Progress:
    """What this attempt has done."""

    key: str
    """Of the new vectors."""
    examples: int = 0
    answers: set[uuid.UUID] = field(default_factory=set)
    """Answers whose new vectors lie in the scratch folder: a row has room for one encoder's only."""
    unreadable: set[uuid.UUID] = field(default_factory=set)
    """Examples and answers whose image is gone or damaged; they stay without new vectors, and nothing finds them."""
    parts: int = 0
    """Files of vectors in the scratch folder."""

    @property
    def done(self) -> int:
        return self.examples + len(self.answers) + len(self.unreadable)


def reembed(run: JobRun) -> Outcome:
    """Embed, then swap; what is added meanwhile is embedded too before the swap.

    Raises CollectionNotFoundError where the collection is gone, what loading the encoder raises, StoppingError.
    """
    spec = run.spec
    if spec.base_model is None or spec.data is None or spec.data.collection is None:
        raise NotTrainableError("The job names no collection or no encoder.")
    config = EncoderConfig.from_settings(run.settings)
    encoder = load_encoder(resolve(spec.base_model), config)
    asyncio.run(_make_index(run, f"{encoder.name}@{encoder.fingerprint}", encoder.dim))
    run.phase("fitting")
    with ThreadPoolExecutor(run.settings.batching.decode_threads or device.threads()) as pool:
        worker = _Reembedding(run, encoder, spec.data.collection, pool)
        while True:
            worker.embed()
            if worker.swap(spec.base_model):
                break
    progress = worker.progress
    if progress.unreadable:
        run.log(f"{len(progress.unreadable)} images are gone or damaged; their examples are found no longer.")
    return Outcome(
        result={
            "encoder": encoder.name,
            "examples": progress.examples,
            "answers": len(progress.answers),
            "unreadable": len(progress.unreadable),
        }
    )


async def _make_index(run: JobRun, key: str, dim: int) -> None:
    """The index of the new vectors, made before there are any."""
    database = Database(run.settings.server.database_url or "", pool_size=1)
    try:
        async with database.session() as session:
            await ensure_index(session, key, dim)
    finally:
        await database.close()


class _Reembedding:
    """One attempt at one collection."""

    def __init__(
        self, run: JobRun, encoder: Encoder, collection: uuid.UUID, pool: ThreadPoolExecutor
    ) -> None:
        self.progress = _Progress(f"{encoder.name}@{encoder.fingerprint}")
        self._run = run
        self._encoder = encoder
        self._limits = ImageLimits.from_settings(run.settings)
        self._wanted = {"collection": collection, "key": self.progress.key}
        self._pool = pool

    def embed(self) -> None:
        """Embed what has no vectors of the new encoder yet."""
        for rows in self._chunks(f"SELECT e.id, e.image_sha256 {_MISSING} AND e.id > :after ORDER BY e.id"):
            self._embed_examples(rows)
            self._report()
        stale = f"SELECT a.id, a.image_sha256, a.question {_STALE} AND a.id > :after ORDER BY a.id"
        for rows in self._chunks(stale):
            self._embed_answers([row for row in rows if row.id not in self.progress.answers])
            self._report()

    def swap(self, encoder: str) -> bool:
        """Bind the collection to `encoder`, unless something has come in that is not embedded yet: then False."""
        run, wanted = self._run, self._wanted
        with run.engine.begin() as connection:
            # the job's row stays locked until the end: nobody else owns the job while the collection changes
            mine = {"id": run.task.job, "fence": run.task.fence, "lease_s": run.settings.jobs.job_lease_s}
            owned = connection.execute(machine.RENEW, mine).one_or_none()
            if owned is None:
                raise LostError
            if owned.cancel:
                raise StoppingError
            bound = connection.execute(
                text("SELECT encoder FROM collections WHERE id = :collection FOR UPDATE"), wanted
            ).scalar_one_or_none()
            if bound is None:
                raise CollectionNotFoundError("The collection is gone.")
            if self._has_left(connection):
                return False
            self._put_answers(connection)
            if bound != encoder:
                connection.execute(
                    text(
                        # what was made is of no version that a process could read from, so all read everything
                        "UPDATE collections SET encoder = :encoder, version = version + 1, "
                        "removals_since = version + 1 WHERE id = :collection"
                    ),
                    {**wanted, "encoder": encoder},
                )
        return True

    def _has_left(self, connection: Connection) -> bool:
        """Whether anything has no new vectors that could have some."""
        missing = connection.execute(text(f"SELECT e.id {_MISSING}"), self._wanted).scalars()
        stale = connection.execute(text(f"SELECT a.id {_STALE}"), self._wanted).scalars()
        known = self.progress.unreadable
        return bool(set(missing) - known or set(stale) - known - self.progress.answers)

    def _chunks(self, statement: str) -> Iterator[Sequence[Row[tuple[object, ...]]]]:
        after = _FIRST
        while True:
            with self._run.engine.begin() as connection:
                rows = connection.execute(
                    text(f"{statement} LIMIT {_CHUNK}"), {**self._wanted, "after": after}
                ).all()
            if not rows:
                return
            after = rows[-1].id
            yield rows

    def _embed_examples(self, rows: Sequence[Row[tuple[object, ...]]]) -> None:
        ids, made = self._images(rows)
        values = [
            {**self._wanted, "example": example_id, "vector": to_sql(vector)}
            for example_id, vector in zip(ids, made, strict=True)
        ]
        if values:
            with self._run.engine.begin() as connection:
                connection.execute(
                    text(
                        "INSERT INTO example_vectors (example_id, encoder, collection_id, vector) "
                        "SELECT id, :key, collection_id, CAST(:vector AS vector) FROM examples "
                        "WHERE id = :example AND collection_id = :collection ON CONFLICT DO NOTHING"
                    ),
                    values,
                )
        self.progress.examples += len(ids)

    def _embed_answers(self, rows: Sequence[Row[tuple[object, ...]]]) -> None:
        ids, pictures = self._images(rows)
        asked = {row.id: row.question for row in rows}
        if ids:
            questions = same_for_all(len(ids), self._encoder.dim)
            if isinstance(self._encoder, TextEncoder):
                questions = self._encoder.encode_texts([asked[example_id] for example_id in ids])
            np.savez(
                self._run.scratch / f"answers-{self.progress.parts}.npz",
                ids=np.array([example_id.bytes for example_id in ids], "V16"),
                pictures=pictures,
                questions=questions,
            )
            self.progress.parts += 1
        self.progress.answers.update(ids)

    def _put_answers(self, connection: Connection) -> None:
        for part in range(self.progress.parts):
            with np.load(self._run.scratch / f"answers-{part}.npz", allow_pickle=False) as kept:
                values = [
                    {
                        "key": self.progress.key,
                        "example": uuid.UUID(bytes=example_id.tobytes()),
                        "image": to_sql(picture),
                        "question": to_sql(question),
                    }
                    for example_id, picture, question in zip(
                        kept["ids"], kept["pictures"], kept["questions"], strict=True
                    )
                ]
            connection.execute(
                text(
                    "UPDATE answer_examples SET encoder = :key, image_vector = CAST(:image AS vector), "
                    "question_vector = CAST(:question AS vector) WHERE id = :example"
                ),
                values,
            )

    def _images(self, rows: Sequence[Row[tuple[object, ...]]]) -> tuple[list[uuid.UUID], NDArray[np.float32]]:
        """Ids of the readable ones and their vectors float32[n, d]."""
        rows = [row for row in rows if row.id not in self.progress.unreadable]
        decoded = list(self._pool.map(self._pixels, [row.image_sha256 for row in rows]))
        ids = [row.id for row, pixels in zip(rows, decoded, strict=True) if pixels is not None]
        self.progress.unreadable.update(row.id for row in rows if row.id not in set(ids))
        readable = [pixels for pixels in decoded if pixels is not None]
        step = self._run.settings.batching.cpu_max_batch
        made = [
            self._encoder.encode_images(np.stack(readable[start : start + step]))
            for start in range(0, len(readable), step)
        ]
        return ids, np.concatenate(made) if made else np.empty((0, self._encoder.dim), np.float32)

    def _pixels(self, sha256: str) -> Pixels | None:
        try:
            data = self._run.images.read(sha256)
            image = images.decode_pixels(data, self._limits, min_side=min_decoded_side(self._encoder))
        except (FileNotFoundError, InvalidInputError, TooLargeError):
            return None
        return self._encoder.preprocess(bound_aspect(image))

    def _report(self) -> None:
        with self._run.engine.begin() as connection:
            left = connection.execute(
                text(f"SELECT (SELECT count(*) {_MISSING}) + (SELECT count(*) {_STALE})"), self._wanted
            ).scalar_one()
        unseen = max(0, left - len(self.progress.answers) - len(self.progress.unreadable))
        self._run.step(self.progress.done, self.progress.done + unseen)
        self._run.stop_if_asked()
