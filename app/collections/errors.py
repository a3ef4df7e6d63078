"""The failures of collections that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, NotFoundError


class CollectionNotFoundError(NotFoundError):
    """There is no collection of that name."""

    code = "collection_not_found"
    advice = "Take a name from `GET /v1/collections`, or make the collection with `POST /v1/collections`."


class ExampleNotFoundError(NotFoundError):
    """There is no such example in this collection: GET /v1/collections/{collection}/examples lists their ids."""

    code = "example_not_found"
    advice = "Take an id from `GET /v1/collections/{collection}/examples`."


class LabelNotFoundError(NotFoundError):
    """There is no such label in this collection: GET /v1/collections/{collection}/labels lists them."""

    code = "label_not_found"
    advice = "Take a name from `GET /v1/collections/{collection}/labels`."


class LabelExistsError(ConflictError):
    """The collection has a label of that name already."""

    code = "label_exists"
    advice = "Choose another name, or send `merge: true` to put the two labels together."


class ExampleExistsError(ConflictError):
    """The image is an example of that label already."""

    code = "example_exists"
    advice = (
        "Delete one of the two examples, which the sentence names; a bulk change does it with `merge: true`."
    )


class CollectionExistsError(ConflictError):
    """A collection of that name exists already."""

    code = "collection_exists"
    advice = "Use the collection that is there, or choose another name."


class DefaultCollectionError(ConflictError):
    """The collection 'default' always exists and cannot be deleted."""

    code = "default_collection"
    advice = "Delete its examples instead."


class EmptyCollectionError(ConflictError):
    """This collection has no examples yet: teach it one, or pass `labels` to classify without examples."""

    code = "empty_collection"
    advice = "Teach the collection an example of each label, or pass `labels`."


class EncoderMismatchError(ConflictError):
    """This collection is bound to another encoder."""

    code = "encoder_mismatch"
    advice = "Leave out `model`, or bind the collection to the other encoder with `PATCH /v1/collections/{collection}`."
