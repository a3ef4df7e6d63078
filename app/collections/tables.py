"""The tables of collections."""

from __future__ import annotations

import uuid
from datetime import datetime

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ForeignKey,
    Index,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class Collection(Base):
    """A named set of labels, bound to one encoder; `version` grows with each change that a head depends on."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("workspace", "name"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    name: Mapped[str]
    encoder: Mapped[str]
    version: Mapped[int] = mapped_column(default=0)
    removals_since: Mapped[int] = mapped_column(default=0)
    """Removals up to this version are no longer noted; a process that knew less must read everything again."""
    label_shares: Mapped[str] = mapped_column(server_default="equal", default="equal")
    """How often each label is expected, one of `app.heads.LabelShares`."""
    review_keep: Mapped[int | None]
    """How many of its least sure pictures are kept for review; null where none are."""
    review_days: Mapped[int | None]
    """How long each of them is kept."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Label(Base):
    """One label of a collection and what a person wrote about it."""

    __tablename__ = "labels"
    __table_args__ = (UniqueConstraint("collection_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")


class Example(Base):
    """One image of one label; the same image and label again is the same row."""

    __tablename__ = "examples"
    __table_args__ = (
        UniqueConstraint("collection_id", "label_id", "image_sha256"),
        Index("ix_examples_collection_version", "collection_id", "version"),
        Index("ix_examples_image", "image_sha256"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id", ondelete="CASCADE"), index=True)
    image_sha256: Mapped[str]
    """Hex SHA-256 of the stored (metadata-free) image; its key in the blob store."""
    version: Mapped[int]
    """The collection's version that this example made."""
    bytes: Mapped[int] = mapped_column(server_default="0")
    """Of the stored image; 0 where it was stored before they were counted."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ExampleVector(Base):
    """An example's embedding by one encoder; `encoder` is `<name>@<fingerprint>`, so weights never mix.

    The vector column carries no length (encoders differ); an expression HNSW index per encoder is made when
    the encoder is first used, since pgvector indexes no untyped column.
    """

    __tablename__ = "example_vectors"

    example_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True
    )
    encoder: Mapped[str] = mapped_column(primary_key=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), index=True
    )
    vector: Mapped[list[float]] = mapped_column(Vector())


class Removal(Base):
    """What a removed example took along, so that other processes subtract it instead of reading all again.

    Rows older than the processes' watch interval by far are purged; a process that missed one starts over.
    """

    __tablename__ = "removals"
    __table_args__ = (Index("ix_removals_collection_version", "collection_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    version: Mapped[int]
    """The collection's version that the removal made."""
    added_version: Mapped[int]
    """The version that the example had made; who never read that far has nothing to subtract."""
    example_id: Mapped[uuid.UUID]
    label_id: Mapped[int]
    encoder: Mapped[str]
    vector: Mapped[list[float]] = mapped_column(Vector())
    removed_at: Mapped[datetime] = mapped_column(server_default=func.now())
