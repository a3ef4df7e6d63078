"""Entries for clients that know nothing but models: encoders named for embeddings, and collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.http.names import COLLECTION_MODEL
from app.models.resolver import EMBED_SUFFIX
from app.models.schemas import Model


@dataclass(frozen=True)
class NamedCollection:
    """A collection, and the encoder it is bound to as clients know it."""

    name: str
    encoder: str


class Collections(Protocol):
    """Which collections a workspace has; `app.collections.naming` answers."""

    async def all(self, workspace: str) -> Sequence[NamedCollection]:
        """By name, as many as are listed at most."""

    async def find(self, workspace: str, name: str) -> NamedCollection:
        """Raises CollectionNotFoundError."""


def list_embedders(models: Sequence[Model]) -> list[Model]:
    """The encoders again, each under the name that clients for embeddings look for."""
    return [name_embedder(model, model.id + EMBED_SUFFIX) for model in models if model.kind == "encoder"]


def name_embedder(model: Model, name: str) -> Model:
    """The encoder by its other name, if it was asked for by that; else as it is."""
    if name != model.id + EMBED_SUFFIX:
        return model
    return model.model_copy(update={"id": name, "aliases": [], "alias_of": model.id, "default": False})


def describe_collection(collection: NamedCollection, models: Sequence[Model]) -> Model:
    """A collection as a model that names its labels; what it is bound to says the rest."""
    known = next((model for model in models if model.id == collection.encoder), None)
    return Model(
        id=COLLECTION_MODEL + collection.name,
        owned_by="workspace",
        kind="classifier",
        tasks=None,
        family=known.family if known else collection.encoder,
        aliases=[],
        alias_of=collection.encoder,
        default=False,
        loaded=bool(known and known.loaded),
        dim=known.dim if known else None,
        input_size=known.input_size if known else None,
        memory_mb=None,
        runtime=known.runtime if known else None,
        fingerprint=known.fingerprint if known else None,
        optimisation=None,
    )
