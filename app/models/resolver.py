"""Which model a client's word means: one that this service knows, or a trained one of the client's workspace.

A client names only what is known already: a folder of this machine is none of its business, and a hub id of its
choosing is never fetched. A "word" below is what the registry takes: a name, a hub id, or a folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import VisionError, shorten_name, suggest_names
from app.families import FAMILIES
from app.inference.engine.interface import Engine
from app.inference.errors import ModelNotFoundError
from app.inference.model_info import ModelInfo
from app.inference.sources import Kind
from app.methods.tasks import Task
from app.models.service import ModelRecord, TrainedModels
from app.settings import Settings

_KINDS: dict[Kind, str] = {
    "encoder": " that makes vectors",
    "vlm": " that answers questions or writes captions",
}

_REMEMBER_SECONDS = 5.0
_MAX_REMEMBERED = 1_024
EMBED_SUFFIX = "-embed"
"""An encoder goes by its name with this too: some clients (n8n) offer only models for embeddings that are called so."""


def names_of(info: ModelInfo) -> tuple[str, ...]:
    """Whatever a known model goes by."""
    embed = (info.name + EMBED_SUFFIX,) if info.kind == "encoder" else ()
    return (info.name, *info.aliases, *embed)


@dataclass(eq=False)
class ModelResolver:
    """The models of one process by name, alias and family, and a workspace's trained ones by id."""

    settings: Settings
    registry: Engine
    trained: TrainedModels
    _untrained: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    """Until when it is taken for granted that a workspace has no trained model of that name."""

    @property
    def default_encoder(self) -> str:
        """What a collection is bound to that was made without an encoder, as a word."""
        return self.settings.models.encoder

    def default_vlm(self, task: Task) -> str:
        """The model that answers, or captions, where nobody named one, as a word.

        Captions are written by the captioner of the settings, else by the default model for questions where it does
        that too, else by the built-in one.
        """
        if task != "caption":
            return self.settings.answers.vlm
        if self.settings.answers.captioner:
            return self.settings.answers.captioner
        is_able = any(info.default for info in self.list_models("vlm", "caption"))
        return self.settings.answers.vlm if is_able else FAMILIES.default_checkpoint("caption")

    def list_models(self, kind: Kind | None = None, task: Task | None = None) -> list[ModelInfo]:
        """Models that any client may name; of one `kind`, or not known to be unable to do the `task`."""
        return [
            info
            for info in self.registry.list_models()
            if kind in (None, info.kind) and (task is None or info.tasks is None or task in info.tasks)
        ]

    def match(self, name: str, kind: Kind | None = None) -> ModelInfo | None:
        """The known model of that name or alias."""
        return next((info for info in self.list_models(kind) if name in names_of(info)), None)

    def match_base(self, name: str, kind: Kind | None = None, task: Task | None = None) -> list[ModelInfo]:
        """The known models of that name, alias or else family, the default first; `task` chooses in a family only."""
        named = [info for info in self.list_models(kind) if name in names_of(info)]
        family = [info for info in self.list_models(kind, task) if name == info.family]
        return named or sorted(family, key=lambda info: not info.default)

    def get_encoder(self, name: str) -> str:
        """The encoder of that name or alias, as a word; raises ModelNotFoundError."""
        info = self.match(name, "encoder")
        if info is None:
            raise self.absent(name, "encoder")
        return self.word_of(info)

    async def find(self, workspace: str, name: str, kind: Kind | None = None) -> ModelRecord | ModelInfo:
        """The workspace's trained model of that id, else the known one (of that `kind`) of that name or alias.

        Raises ModelNotFoundError, which names those that are near.
        """
        known = self.match(name, kind)
        found: ModelRecord | ModelInfo | None = None
        if known is None or not self._is_untrained(workspace, name):
            found = await self.trained.find(workspace, name)
            if found is None and known is not None:
                self._note_untrained(workspace, name)
        found = found or known
        if found is None:
            raise self.absent(name, kind, trained=await self.trained.all(workspace))
        return found

    async def is_known(self, workspace: str, name: str) -> bool:
        """Whether it means a model; of one that was trained just now it may be heard some seconds later."""
        if self.match(name) is not None:
            return True
        if self._is_untrained(workspace, name):
            return False
        is_trained = await self.trained.find(workspace, name) is not None
        if not is_trained:
            self._note_untrained(workspace, name)
        return is_trained

    def _is_untrained(self, workspace: str, name: str) -> bool:
        """Whether the database had none of the name just now; where a known one has it, none can get it afterwards."""
        return self._untrained.get((workspace, name), 0.0) > time.monotonic()

    def _note_untrained(self, workspace: str, name: str) -> None:
        if len(self._untrained) >= _MAX_REMEMBERED:
            self._untrained.clear()
        self._untrained[workspace, name] = time.monotonic() + _REMEMBER_SECONDS

    async def is_taken(self, workspace: str, name: str) -> bool:
        """Whether a model to be made may not go by that name: it means another one already, or a family."""
        return (
            self.registry.is_taken(name)
            or self.match(name) is not None
            or await self.trained.find(workspace, name) is not None
        )

    def word_of(self, info: ModelInfo) -> str:
        """What the registry takes for a known model: of a default the setting, else its hub id or folder, or name."""
        if info.default:
            return self.settings.models.encoder if info.kind == "encoder" else self.settings.answers.vlm
        return (info.aliases or (info.name,))[0]

    @staticmethod
    def name_for_clients(word: str, kind: Kind | None = None) -> str:
        """What clients call the model of a word, never a folder of this machine; also of one no longer there."""
        if kind == "vlm":
            try:
                return FAMILIES.resolve("vlm", word).name
            except VisionError:
                pass  # one that went away since
        try:
            return FAMILIES.resolve("encoder", word).name
        except VisionError:
            return Path(word).name.lower()

    def is_same_encoder(self, word: str, other: str) -> bool:
        """Whether two words mean one encoder."""
        return word == other or self.name_for_clients(word) == self.name_for_clients(other)

    def absent(
        self,
        name: str,
        kind: Kind | None = None,
        task: Task | None = None,
        *,
        trained: Iterable[ModelRecord] = (),
        hint: str = "",
    ) -> ModelNotFoundError:
        """The failure of a name that means no model here; it names those that are near, else all known ones."""
        names = [info.name for info in self.list_models(kind, task)] + [model.card.id for model in trained]
        others = suggest_names(name, names, none="none is known")
        which = _KINDS[kind] if kind is not None and self.match(name) is not None else ""
        return ModelNotFoundError(f"There is no model '{shorten_name(name)}' here{which}: {others}{hint}")
