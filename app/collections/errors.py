"""The failures of collections that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, NotFoundError


class CollectionNotFoundError(NotFoundError):
    """There is no collection of that name."""

    code = "collection_not_found"


class ExampleNotFoundError(NotFoundError):
    """There is no such example in this collection."""

    code = "example_not_found"


class CollectionExistsError(ConflictError):
    """A collection of that name exists already."""

    code = "collection_exists"


class DefaultCollectionError(ConflictError):
    """The collection 'default' always exists and cannot be deleted."""

    code = "default_collection"


class EmptyCollectionError(ConflictError):
    """This collection has no examples yet: teach it one, or pass `labels` to classify without examples."""

    code = "empty_collection"


class EncoderMismatchError(ConflictError):
    """This collection is bound to another encoder."""

    code = "encoder_mismatch"
