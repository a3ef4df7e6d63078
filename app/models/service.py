"""Trained models of a workspace: their rows, their files on this machine, and how they come and go."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from weakref import WeakValueDictionary

from sqlalchemy import delete, select

from app.access.quota import StorageQuota
from app.families.table import FAMILIES
from app.http.names import MODEL_NAME
from app.inference.engine.interface import Engine
from app.inference.errors import ModelNotFoundError, ModelTaskError, ModelUnavailableError
from app.inference.model_info import ModelInfo
from app.inference.sources import EncoderConfig
from app.jobs.artifacts import Artifact, artifacts_of, drop_artifacts, keep_artifacts
from app.jobs.errors import ArtifactNotFoundError
from app.jobs.spec import FileRef, ModelCard
from app.models.classifiers import TrainedClassifier
from app.models.fetching import fetch_files
from app.models.tables import TrainedModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.files import FileStore

_STALE_SECONDS = 86_400


@dataclass(frozen=True)
class ModelRecord:
    """A trained model as its row says."""

    card: ModelCard
    job_id: uuid.UUID | None
    created_at: datetime
    folder: Path
    """Where its files lie on this machine once they were fetched: a place of its workspace's own."""


class TrainedModels:
    """The trained models of one service; files are fetched when a model is first used in this process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: FileStore,
        registry: Engine,
        quota: StorageQuota,
    ) -> None:
        self._database = database
        self._files = files
        self._registry = registry
        self._quota = quota
        self._cache = settings.server.data_dir.expanduser().resolve() / "cache" / "models"
        self._keep = settings.collections.max_cached_heads
        self._config = EncoderConfig.from_settings(settings)
        self._fitting = asyncio.Lock()
        self._fits: dict[Path, asyncio.Task[TrainedClassifier]] = {}
        for left in self._cache.glob(".upload-*"):  # of a service that was killed
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        self._classifiers: OrderedDict[Path, TrainedClassifier] = OrderedDict()
        self._turns: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        """Fetching and removing of one folder wait for each other."""

    async def find(self, workspace: str, name: str) -> ModelRecord | None:
        """The trained model of that id."""
        if not re.fullmatch(MODEL_NAME, name):
            return None
        async with self._database.session() as session:
            row = await session.get(TrainedModel, (workspace, name))
            files = [] if row is None else await artifacts_of(session, workspace, name)
            return None if row is None else self._build_trained(row, files)

    async def all(self, workspace: str) -> list[ModelRecord]:
        """Every one, the newest first."""
        query = select(TrainedModel).where(TrainedModel.workspace == workspace)
        async with self._database.session() as session:
            rows = await session.scalars(query.order_by(TrainedModel.created_at.desc(), TrainedModel.id))
            files: dict[str, list[Artifact]] = {}
            for file in await artifacts_of(session, workspace):
                files.setdefault(file.model or "", []).append(file)
            return [self._build_trained(row, files.get(row.id, [])) for row in rows]

    def live(self, model: ModelRecord) -> tuple[bool, ModelInfo | None]:
        """Whether it is in memory, and what is known there of a model that is more than a head over its base."""
        info = self._registry.live_at(str(model.folder))
        head = self._classifiers.get(model.folder)
        return info is not None or (head is not None and not head.adapted), info

    async def classifier(self, workspace: str, found: ModelRecord) -> tuple[TrainedClassifier, str]:
        """The classifier and the encoder that feeds it, as a word that the registry takes.

        Raises ModelTaskError for a model that is no classifier, ModelNotFoundError where it was removed meanwhile,
        ModelUnavailableError where its files are damaged, StoreUnavailableError.
        """
        if found.card.kind != "classifier":
            raise ModelTaskError(
                f"The model '{found.card.id}' answers questions; it neither classifies nor makes vectors."
            )
        known = self._classifiers.get(found.folder)
        if known is None:
            fit = self._fits.get(found.folder)
            if fit is None or fit.done():
                fit = self._fits[found.folder] = asyncio.create_task(self._fit(workspace, found))
                fit.add_done_callback(lambda done: self._end_fit(found.folder, done))
            known = await asyncio.shield(fit)  # it goes on when its requests leave, for those that come again
        else:
            self._classifiers.move_to_end(found.folder)
        return known, str(found.folder) if known.adapted else await asyncio.to_thread(self._base, known)

    async def _fit(self, workspace: str, found: ModelRecord) -> TrainedClassifier:
        async with self._fitting, self._present(workspace, found):  # one at a time: a fit takes memory
            known = self._classifiers[found.folder] = await asyncio.to_thread(
                TrainedClassifier.load, found.folder
            )
        while len(self._classifiers) > self._keep:
            self._classifiers.popitem(last=False)
        return known

    async def close(self) -> None:
        """Stop the loads under way."""
        fits = list(self._fits.values())
        for fit in fits:
            fit.cancel()
        await asyncio.gather(*fits, return_exceptions=True)

    def _end_fit(self, folder: Path, fit: asyncio.Task[TrainedClassifier]) -> None:
        if self._fits.get(folder) is fit:
            del self._fits[folder]
        if not fit.cancelled():
            fit.exception()  # seen, even when every request has left

    def _base(self, known: TrainedClassifier) -> str:
        """The word for the encoder that a head was trained over, which may mean another one by now."""
        asked = known.note.base_fingerprint
        return FAMILIES.base_of("encoder", known.base_model, asked, self._config) or known.base_model

    async def vlm(self, workspace: str, found: ModelRecord) -> str:
        """The folder of the vision-language model; errors likewise."""
        if found.card.kind != "vlm":
            raise ModelTaskError(f"The model '{found.card.id}' classifies; it does not answer questions.")
        async with self._present(workspace, found):
            return str(found.folder)

    async def artifacts(self, workspace: str, name: str) -> list[Artifact]:
        """The model's files and whatever was made of it since, by name."""
        async with self._database.session() as session:
            return await artifacts_of(session, workspace, name)

    async def artifact(self, workspace: str, name: str, file: str) -> Artifact:
        """One of them; raises ArtifactNotFoundError."""
        for artifact in await self.artifacts(workspace, name):
            if artifact.name == file:
                return artifact
        raise ArtifactNotFoundError

    @asynccontextmanager
    async def _present(self, workspace: str, model: ModelRecord) -> AsyncIterator[None]:
        """A block in which the model's files are on this machine, fetched and checked; nobody removes it meanwhile.

        Raises ModelNotFoundError where it was removed before, ModelUnavailableError where a file is missing or not
        what it was, StoreUnavailableError.
        """
        async with self._turns.setdefault(model.folder, asyncio.Lock()):
            if not await asyncio.to_thread(model.folder.is_dir):
                now = await self.find(workspace, model.card.id)
                if now is None or now.folder != model.folder:
                    raise ModelNotFoundError
                rows = [
                    row
                    for row in await self.artifacts(workspace, model.card.id)
                    if row.name in model.card.files
                ]
                if {row.name for row in rows} != set(model.card.files):
                    raise ModelUnavailableError(f"Files of the model '{model.card.id}' are missing.")
                await asyncio.to_thread(self._fetch, rows, model.folder)
            yield

    async def publish(self, workspace: str, card: ModelCard, folder: Path) -> ModelRecord:
        """Keep an uploaded model's files and its row; raises IntegrityError where the id is taken meanwhile, and
        WorkspaceFullError.
        """
        sizes = await asyncio.to_thread(lambda: [(folder / name).stat().st_size for name in card.files])
        await self._quota.take(workspace, sum(sizes))
        prefix = f"models/{uuid.uuid4()}"
        try:
            kept = await asyncio.to_thread(self._store, folder, card.files, prefix)
            card = card.model_copy(update={"size_bytes": sum(file.size for file in kept)})
            async with self._database.session() as session:
                row = TrainedModel(workspace=workspace, id=card.id, card=card.model_dump(mode="json"))
                session.add(row)
                files = keep_artifacts(session, workspace, card.id, kept)
                await session.flush()
                await session.refresh(row)
                return self._build_trained(row, files)
        except BaseException:
            await asyncio.to_thread(self._files.delete, prefix)
            raise

    async def delete(self, workspace: str, name: str) -> None:
        """Forget a model: its row, its files and what it takes in memory; raises ModelNotFoundError."""
        found = await self.find(workspace, name)
        if found is None:
            raise ModelNotFoundError
        async with self._turns.setdefault(found.folder, asyncio.Lock()):
            async with self._database.session() as session:
                keys = await drop_artifacts(session, workspace, name)
                await session.execute(
                    delete(TrainedModel).where(TrainedModel.workspace == workspace, TrainedModel.id == name)
                )
            self._classifiers.pop(found.folder, None)
            # out of reach first, so that nobody begins to load what is about to go
            await asyncio.to_thread(self._put_aside, found.folder)
            await self._registry.forget(str(found.folder))
        for key in {_of_one_upload(key) for key in keys}:
            await asyncio.to_thread(self._files.delete, key)

    def _put_aside(self, folder: Path) -> None:
        """Remove a model's folder, whole as others see it, and the one above it where that held no other."""
        aside = folder.with_name(f".old-{uuid.uuid4()}")
        with suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()

    def _fetch(self, rows: Sequence[Artifact], folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            fetch_files(self._files, rows, draft)
            try:
                os.rename(draft, folder)
            except OSError:
                if not folder.is_dir():  # another process was as quick
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _build_trained(self, row: TrainedModel, files: Sequence[Artifact]) -> ModelRecord:
        card = ModelCard.model_validate(row.card)
        parts = sorted((file.name, file.sha256) for file in files if file.name in card.files)
        digest = hashlib.sha256(repr((row.workspace, parts)).encode()).hexdigest()[:32]
        return ModelRecord(card, row.job_id, row.created_at, self._cache / digest / card.id)

    def _store(self, folder: Path, names: Sequence[str], prefix: str) -> list[FileRef]:
        kept = []
        for name in names:
            digest, size = self._files.put(f"{prefix}/{name}", folder / name)
            kept.append(FileRef(name=name, key=f"{prefix}/{name}", sha256=digest, size=size))
        return kept


def _of_one_upload(key: str) -> str:
    """The folder that holds an uploaded model's files and nothing else; of a job's file the file itself."""
    return "/".join(key.split("/")[:2]) if key.startswith("models/") else key
