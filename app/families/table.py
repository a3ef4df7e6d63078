"""The table of model families: which there are, which one a name or a folder means, and how its model is loaded."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from app.errors import VisionError
from app.families import files
from app.families.changed import ADAPTER, adapter_base, read_adapted_note
from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.family import Family
from app.inference.protocols import Encoder, Vlm
from app.inference.sources import (
    CHECKPOINTS,
    HUB_ID,
    EncoderConfig,
    EncoderSource,
    FileVersion,
    Kind,
    file_version,
    last_of,
    read_unchanged,
    slug,
)

GROUP = "llamafarm_vision.families"
_UNKNOWN = {
    "encoder": "There is no encoder '{}': name a family, a Hugging Face id or a local folder.",
    "vlm": "There is no vision-language model '{}': name a checkpoint, a Hugging Face id or a local folder.",
}
_ARE = {"encoder": "encoders are of the types", "vlm": "vision-language models are"}

log = logging.getLogger(__name__)


class Families:
    """Families by name: those of this package, then those of other distributions, then those that were registered."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_name: dict[str, Family] | None = None
        self._by_kind: dict[Kind, list[Family]] = {}
        self._own_sources: dict[tuple[Kind, str], tuple[FileVersion, EncoderSource]] = {}

    def all(self) -> Mapping[str, Family]:
        """Every family; reads folders and entry points the first time."""
        with self._lock:
            if self._by_name is not None:
                return self._by_name
            self._by_name = {}
            try:
                for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
                    if module.ispkg:
                        family = importlib.import_module(f"{__package__}.{module.name}").FAMILY
                        self.register(family.name, family)
                for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
                    self._add_foreign(point)
            except BaseException:
                self._by_name = None  # or later calls would miss families without a word
                raise
            return self._by_name

    def register(self, name: str, family: Family) -> None:
        """Add a family; raises ValueError where its name is taken or is not its own."""
        with self._lock:
            known = self.all()
            if not isinstance(family, Family) or family.name != name:
                raise ValueError(f"'{name}' is not a Family of that name")
            if name in known:
                raise ValueError(f"there is a model family '{name}' already")
            self._by_name = {**known, name: family}
            self._by_kind, self._own_sources = {}, {}

    def find(self, name: str) -> Family | None:
        """The family of that name."""
        return self.all().get(name)

    def get(self, name: str) -> Family:
        """The same; raises ModelUnavailableError where there is none."""
        family = self.find(name)
        if family is None:
            raise ModelUnavailableError(f"There is no model family '{name}'.")
        return family

    def of_kind(self, kind: Kind) -> Sequence[Family]:
        """The families whose models are of that kind, by name."""
        found = self._by_kind.get(kind)
        if found is None:
            with self._lock:
                families = sorted(self.all().items())
                found = self._by_kind[kind] = [family for _, family in families if family.kind == kind]
        return found

    def of_model_type(self, model_type: object, kind: Kind) -> Family | None:
        """The family that a configuration of this `model_type` is of."""
        for family in self.of_kind(kind):
            if model_type in family.model_types:
                return family
        return None

    def model_types(self, kind: Kind) -> list[str]:
        """Every `model_type` that is recognised."""
        return sorted({name for family in self.of_kind(kind) for name in family.model_types})

    def of_hub_id(self, hub_id: str, kind: Kind) -> Family:
        """The family that a hub id suggests, by the longest hint in it; its configuration may tell otherwise."""
        hints = [
            (len(hint), family)
            for family in self.of_kind(kind)
            for hint in family.hub_hints
            if hint in hub_id.lower()
        ]
        return max(hints, key=lambda hint: hint[0])[1]

    def of_config(self, config: Mapping[str, Any], kind: Kind) -> Family | None:
        """The family that accepts whole models of this configuration."""
        for family in self.of_kind(kind):
            if family.accepted_architecture(config) is not None:
                return family
        return None

    def architectures(self, kind: Kind) -> list[str]:
        """Every class of transformers that whole models are accepted of."""
        return sorted({name for family in self.of_kind(kind) for name in family.architectures})

    def default_checkpoint(self, task: str) -> str:
        """This project's checkpoint for a task where the settings name no other; raises ModelNotFoundError."""
        for family in self.all().values():
            if task in family.default_checkpoints:
                return family.default_checkpoints[task]
        raise ModelNotFoundError(f"No model is known that does '{task}'.")

    def is_connected(self, word: str) -> bool:
        """Whether the word means a model on a server that the settings name."""
        family = self.find(word)
        return family is not None and family.connects

    def resolve(self, kind: Kind, name: str) -> EncoderSource:
        """A family's built-in model or a variant of it, a checkpoint of this project, a local folder or a hub id.

        They are tried in this order; nothing is loaded and no network is asked. Raises ModelNotFoundError when the name
        is none of these, ModelUnavailableError when the folder holds something that is not of that kind.
        """
        name = name.strip()
        for family in self.of_kind(kind):
            if name and (name == family.built_in or name in family.variants):
                return EncoderSource(family.name, name, "", is_local=True)
        if slug(name) == name and (version := file_version(CHECKPOINTS / name, "config.json")):
            return self._own(kind, name, version)
        folder = Path(name).expanduser()
        if name and folder.is_dir():
            folder = folder.resolve()
            note = read_adapted_note(folder) if kind == "encoder" else None
            if note is None:
                family_name, known_as = self.family_in(kind, folder), slug(folder.name)
            else:
                family_name = self.resolve(kind, str(note.get("base_model", ""))).family
                known_as = slug(str(note.get("id") or folder.name))
            return EncoderSource(family_name, known_as, str(folder), is_local=True, aliases=(name,))
        if HUB_ID.fullmatch(name) and not name.startswith("."):
            guess = self.of_hub_id(name, kind).name
            return EncoderSource(guess, slug(name.split("/")[1]), name, is_local=False, aliases=(name,))
        raise ModelNotFoundError(_UNKNOWN[kind].format(last_of(name)))

    def _own(self, kind: Kind, name: str, version: FileVersion) -> EncoderSource:
        """A checkpoint of this project, whose configuration is of that version."""
        known = self._own_sources.get((kind, name))
        if known is None or known[0] != version:
            folder = CHECKPOINTS / name
            source = EncoderSource(self.family_in(kind, folder), name, str(folder), is_local=True)
            known = self._own_sources[kind, name] = version, source
        return known[1]

    def family_in(self, kind: Kind, folder: Path) -> str:
        """The family of the model in a folder by its `config.json`, or of the one that the adapter in it belongs to.

        Raises ModelNotFoundError without a configuration, ModelUnavailableError when it is damaged or of another kind
        of model.
        """
        if kind == "vlm" and (folder / ADAPTER).is_file():
            return self.adapter_source(folder).family
        model_type = read_unchanged(folder, "config.json").get("model_type")
        if model_type is None:
            raise ModelUnavailableError(
                f"The config.json of '{folder.name}' cannot be read: it names no model_type."
            )
        family = self.of_model_type(model_type, kind)
        if family is None:
            raise ModelUnavailableError(
                f"'{folder.name}' is a model of type '{model_type}'; {_ARE[kind]} {', '.join(self.model_types(kind))}."
            )
        return family.name

    def adapter_source(self, folder: Path) -> EncoderSource:
        """The vision-language model that an adapter changes; raises ModelNotFoundError and ModelUnavailableError."""
        name = adapter_base(folder)
        if (Path(name).expanduser() / ADAPTER).is_file():
            raise ModelUnavailableError(f"The adapter '{folder.name}' lies over another adapter.")
        return self.resolve("vlm", name)

    def locate(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> EncoderSource:
        """The same source with its files in a local folder, and its family as these tell; a built-in model passes.

        Raises what `files.fetch` raises, and ModelUnavailableError where the checkpoint is of no family served here.
        """
        if not source.location:
            return source
        folder = files.fetch(source, config)
        family = self.family_in(kind, folder)
        return replace(source, family=family, location=str(folder), is_local=True)

    def base_fingerprint(self, kind: Kind, word: str, config: EncoderConfig) -> str | None:
        """The fingerprint of the model that the registry calls `word`; None where it is not on this machine.

        Tells whether a base is still the one that something was trained over. Blocks: hashes files that were not hashed
        before; loads and fetches nothing.
        """
        try:
            source = self.resolve(kind, word)
            if not source.location:
                return self.get(source.family).fingerprint_of(source.name, config)
            located = self.locate(kind, source, replace(config, allow_downloads=False))
            return files.fingerprint(Path(located.location), config.cache_dir)
        except (VisionError, OSError):
            return None

    def base_of(self, kind: Kind, word: str, fingerprint: str | None, config: EncoderConfig) -> str | None:
        """The word for the model that the registry called `word` when its fingerprint was that one: the same, or the
        name of a variant; None where there is none on this machine. Without a fingerprint any model will do. Blocks
        as `base_fingerprint` does.
        """
        current = self.base_fingerprint(kind, word, config)
        if current is not None and fingerprint in (None, current):
            return word
        for family in self.of_kind(kind):
            if word != family.built_in:
                continue
            for name in family.variants:
                found = self.base_fingerprint(kind, name, config)
                if found is not None and fingerprint in (None, found):
                    return name
        return None

    def declared_tasks(self, source: EncoderSource) -> frozenset[str] | None:
        """What a vision-language model was trained for; None where its files are not here, or do not tell."""
        return self.tasks_in(Path(source.location)) if source.is_local else None

    def tasks_in(self, folder: Path) -> frozenset[str] | None:
        """What the weights in a folder were trained for: the tasks that its `vision.json` names, else the one task of
        an architecture that has only one; None where neither tells.
        """
        if (folder / "vision.json").is_file():
            tasks = read_unchanged(folder, "vision.json").get("tasks")
            if isinstance(tasks, list):
                return frozenset(tasks)
        if not (folder / "config.json").is_file():
            return None
        config = read_unchanged(folder, "config.json")
        family = self.of_config(config, "vlm")
        task = None if family is None else family.single_tasks.get(str(family.accepted_architecture(config)))
        return None if task is None else frozenset({task})

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Encoder | Vlm:
        """A model ready to serve; blocks for seconds. Raises what `Family.load` and `Family.load_adapted` raise, and
        ModelNotFoundError where there are no such weights.
        """
        if kind == "encoder":
            note = read_adapted_note(Path(source.location)) if source.location else None
            if note is not None:
                return self.get(source.family).load_adapted(source, note, config)
            source = self.locate(kind, source, config)
        return self.get(source.family).load(source, config)

    def _add_foreign(self, point: Any) -> None:
        """One that does not load is left out and said so: the service goes on with the others."""
        try:
            self.register(point.name, point.load())
        except Exception as error:
            log.error("the model family '%s' of %s cannot be used: %s", point.name, point.value, error)


FAMILIES = Families()
"""Those of this process."""
