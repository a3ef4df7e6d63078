"""The failures of review and feedback that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, NotFoundError


class ReviewPictureNotFoundError(NotFoundError):
    """The review queue of this collection does not keep such a picture (any more)."""

    code = "review_picture_not_found"
    advice = "Take an id from `GET /v1/collections/{collection}/review`; pictures leave it with age."


class AlreadyDecidedError(ConflictError):
    """This picture was decided already."""

    code = "already_decided"
    advice = "Go on with the next picture; `DELETE .../review/{id}/decision` takes the decision back."


class NotDecidedError(ConflictError):
    """This picture is not decided: there is nothing to undo."""

    code = "not_decided"
    advice = "Nothing is to be done: nothing that was said of the picture counts, or taught anything."


class GuessChangedError(ConflictError):
    """The service's guess is another one by now."""

    code = "guess_changed"
    advice = "Read the picture again from `GET /v1/collections/{collection}/review`, or decide it by `label`."


class PictureNotKeptError(ConflictError):
    """The review queue does not keep the picture of that request: send the image itself."""

    code = "picture_not_kept"
    advice = "Send `image` in place of `request_id`."


class NothingToConfirmError(ConflictError):
    """The service names no label for this picture: send `label`, or `none`."""

    code = "nothing_to_confirm"
    advice = "Send `label` with the right one, or `none=true` where it shows none of the labels."
