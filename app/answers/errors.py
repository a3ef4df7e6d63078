"""The failures of answers that a client can meet."""

from __future__ import annotations

from app.errors import BadRequestError, NotFoundError


class AnswerExampleNotFoundError(NotFoundError):
    """There is no such answer in this collection: GET /v1/collections/{collection}/answers lists their ids."""

    code = "answer_example_not_found"
    advice = "Take an id from `GET /v1/collections/{collection}/answers`."


class ImageRequiredError(BadRequestError):
    """This model answers questions about images: send at least one, as a data: URI in an `image_url` part."""

    code = "image_required"
    advice = "Put an image into the conversation, or ask a model that takes text alone (`VISION_REMOTE_URL`)."
