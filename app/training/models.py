"""Trained models of a workspace: their rows, their files on this machine, and how they come and go.

Knows rows, artefacts and a cache of folders; knows nothing of HTTP or of how a model answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select

from app.database import Database
from app.errors import ArtifactNotFoundError, ModelNotFoundError, ModelTaskError, ModelUnavailableError
from app.files import FileStore
from app.inference.registry import ModelRegistry
from app.recognition.trained import TrainedClassifier
from app.settings import Settings
from app.training.resolving import MODEL_NAME
from app.training.spec import FileRef, ModelCard
from app.training.tables import Artifact, TrainedModel


@dataclass(frozen=True)
class Trained:
    """A trained model as its row says."""

    card: ModelCard
    job_id: uuid.UUID | None
    created_at: datetime


class TrainedModels:
    """The trained models of one service; files are fetched when a model is first used in this process."""

    def __init__(
        self, settings: Settings, database: Database, files: FileStore, registry: ModelRegistry
    ) -> None:
        self._database = database
        self._files = files
        self._registry = registry
        self._cache = settings.data_dir.expanduser().resolve() / "cache" / "models"
        self._keep = settings.max_cached_heads
        self._classifiers: OrderedDict[Path, TrainedClassifier] = OrderedDict()
        self._fetching: dict[Path, asyncio.Lock] = {}

    async def find(self, workspace: str, name: str) -> Trained | None:
        """The trained model of that id."""
        if not re.fullmatch(MODEL_NAME, name):
            return None
        async with self._database.session() as session:
            row = await session.get(TrainedModel, (workspace, name))
        return None if row is None else _trained(row)

    async def all(self, workspace: str) -> list[Trained]:
        """Every one, the newest first."""
        wanted = select(TrainedModel).where(TrainedModel.workspace == workspace)
        async with self._database.session() as session:
            rows = await session.scalars(wanted.order_by(TrainedModel.created_at.desc(), TrainedModel.id))
            return [_trained(row) for row in rows]

    async def classifier(self, workspace: str, name: str) -> tuple[TrainedClassifier, str] | None:
        """The classifier of that id and the encoder that feeds it, as a word that the registry takes.

        None where no trained model goes by that id; raises ModelTaskError for one that is no classifier,
        ModelUnavailableError where its files are damaged, StoreUnavailableError.
        """
        found = await self.find(workspace, name)
        if found is None:
            return None
        if found.card.kind != "classifier":
            raise ModelTaskError(f"The model '{name}' answers questions; it does not classify.")
        folder = await self.folder(workspace, found.card)
        known = self._classifiers.get(folder)
        if known is None:
            known = await asyncio.to_thread(TrainedClassifier.load, folder)
            self._classifiers[folder] = known
            while len(self._classifiers) > self._keep:
                self._classifiers.popitem(last=False)
        else:
            self._classifiers.move_to_end(folder)
        return known, str(folder) if known.adapted else known.base_model

    async def vlm(self, workspace: str, name: str) -> str | None:
        """The folder of the vision-language model of that id; None, and errors, likewise."""
        found = await self.find(workspace, name)
        if found is None:
            return None
        if found.card.kind != "vlm":
            raise ModelTaskError(f"The model '{name}' classifies; it does not answer questions.")
        return str(await self.folder(workspace, found.card))

    async def artifacts(self, workspace: str, name: str) -> list[Artifact]:
        """The model's files and whatever was made of it since, by name."""
        wanted = select(Artifact).where(Artifact.workspace == workspace, Artifact.model == name)
        async with self._database.session() as session:
            return list(await session.scalars(wanted.order_by(Artifact.name)))

    async def artifact(self, workspace: str, name: str, file: str) -> Artifact:
        """One of them; raises ArtifactNotFoundError."""
        for one in await self.artifacts(workspace, name):
            if one.name == file:
                return one
        raise ArtifactNotFoundError

    async def folder(self, workspace: str, card: ModelCard) -> Path:
        """The model's files on this machine, fetched and checked once; the folder's name is the model's id.

        Raises ModelUnavailableError where a file is missing or not what it was, StoreUnavailableError.
        """
        rows = [one for one in await self.artifacts(workspace, card.id) if one.name in set(card.files)]
        if {one.name for one in rows} != set(card.files):
            raise ModelUnavailableError(f"Files of the model '{card.id}' are missing.")
        digest = hashlib.sha256(repr(sorted((one.name, one.sha256) for one in rows)).encode()).hexdigest()[
            :32
        ]
        folder = self._cache / digest / card.id
        if not await asyncio.to_thread(folder.is_dir):
            async with self._fetching.setdefault(folder, asyncio.Lock()):
                if not await asyncio.to_thread(folder.is_dir):
                    await asyncio.to_thread(self._fetch, rows, folder)
            self._fetching.pop(folder, None)
        return folder

    async def publish(self, workspace: str, card: ModelCard, folder: Path) -> Trained:
        """Keep an uploaded model's files and its row; raises IntegrityError where the id is taken meanwhile."""
        prefix = f"models/{uuid.uuid4()}"
        kept = await asyncio.to_thread(self._store, folder, card.files, prefix)
        card = card.model_copy(update={"size_bytes": sum(one.size for one in kept)})
        try:
            async with self._database.session() as session:
                row = TrainedModel(workspace=workspace, id=card.id, card=card.model_dump(mode="json"))
                session.add(row)
                session.add_all(
                    Artifact(
                        workspace=workspace,
                        model=card.id,
                        name=one.name,
                        key=one.key,
                        sha256=one.sha256,
                        size=one.size,
                    )
                    for one in kept
                )
                await session.flush()
                await session.refresh(row)
                return _trained(row)
        except BaseException:
            await asyncio.to_thread(self._files.delete, prefix)
            raise

    async def delete(self, workspace: str, name: str) -> None:
        """Forget a model: its row, its files and what it takes in memory; raises ModelNotFoundError."""
        found = await self.find(workspace, name)
        if found is None:
            raise ModelNotFoundError
        rows = await self.artifacts(workspace, name)
        folders = list(self._cache.glob(f"*/{name}"))
        async with self._database.session() as session:
            await session.execute(
                delete(Artifact).where(Artifact.workspace == workspace, Artifact.model == name)
            )
            await session.execute(
                delete(TrainedModel).where(TrainedModel.workspace == workspace, TrainedModel.id == name)
            )
        for folder in folders:
            self._classifiers.pop(folder, None)
            await self._registry.forget(str(folder))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        for row in rows:
            await asyncio.to_thread(self._files.delete, row.key)

    def _fetch(self, rows: Sequence[Artifact], folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            for row in rows:
                target = draft / row.name
                try:
                    self._files.get(row.key, target)
                except FileNotFoundError:
                    raise ModelUnavailableError(
                        f"The file '{row.name}' of the model is no longer kept."
                    ) from None
                with target.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != row.sha256:
                        raise ModelUnavailableError(f"The file '{row.name}' of the model is damaged.")
            try:
                os.rename(draft, folder)
            except OSError:
                if not folder.is_dir():  # another process was as quick
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _store(self, folder: Path, names: Sequence[str], prefix: str) -> list[FileRef]:
        kept = []
        for name in names:
            digest, size = self._files.put(f"{prefix}/{name}", folder / name)
            kept.append(FileRef(name=name, key=f"{prefix}/{name}", sha256=digest, size=size))
        return kept


def _trained(row: TrainedModel) -> Trained:
    return Trained(ModelCard.model_validate(row.card), row.job_id, row.created_at)
