"""The failures of answers that a client can meet."""

from __future__ import annotations

from app.errors import NotFoundError


class AnswerExampleNotFoundError(NotFoundError):
    """There is no such answer in this collection: GET /v1/collections/{collection}/answers lists their ids."""

    code = "answer_example_not_found"
    advice = "Take an id from `GET /v1/collections/{collection}/answers`."
