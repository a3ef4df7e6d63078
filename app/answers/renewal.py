"""Embeds a collection's answer examples again when its encoder is no longer the one that embedded them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.answers import repository
from app.answers.tables import AnswerExample
from app.collections import vectors
from app.collections.directory import KnownCollection
from app.collections.renewal import Renewal
from app.inference.engine.interface import ServedEncoder


@dataclass(kw_only=True)
class AnswerRenewal(Renewal):
    """Of answer examples, whose questions have vectors too."""

    what = "answer examples"
    find_stale = staticmethod(repository.of_other_encoders)

    async def replace(
        self,
        live: ServedEncoder,
        collection_id: uuid.UUID,
        rows: Sequence[AnswerExample],
        made: NDArray[np.float32],
    ) -> None:
        """See `Renewal`."""
        questions = await live.embed_questions([row.question for row in rows], deadline_s=self.deadline_s)
        async with self.database.session() as session:
            for row, image, question in zip(rows, made, questions, strict=True):
                await repository.put_vectors(
                    session, row.id, live.key, vectors.to_sql(image), vectors.to_sql(question)
                )

    async def end(self, known: KnownCollection) -> None:
        """Nobody keeps anything of answer examples that would have to be made anew."""
