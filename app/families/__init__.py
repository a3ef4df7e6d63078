"""Model families: the table of those that this process knows, each one object (`app.inference.family.Family`).

A folder here is a family, by the `FAMILY` of its `__init__`; a distribution adds its own by an entry point of the
group `llamafarm_vision.families`. Nothing of torch or transformers is imported before something is loaded.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.family import Family
from app.inference.protocols import Encoder, Vlm
from app.inference.sources import EncoderConfig, EncoderSource, Kind

GROUP = "llamafarm_vision.families"
BUILT_IN = "lite"
"""The encoder of jobs that name none."""

log = logging.getLogger(__name__)


class Families:
    """Families by name: those of this package, then those of other distributions, then those that were registered."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_name: dict[str, Family] | None = None

    def all(self) -> Mapping[str, Family]:
        """Every family; reads folders and entry points the first time."""
        with self._lock:
            if self._by_name is not None:
                return self._by_name
            self._by_name = {}
            try:
                for module in pkgutil.iter_modules(__path__):
                    if module.ispkg:
                        family = importlib.import_module(f"{__name__}.{module.name}").FAMILY
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
        return [family for _, family in sorted(self.all().items()) if family.kind == kind]

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
        from app.families import encoder_source, vlm_source

        return encoder_source.resolve(name) if kind == "encoder" else vlm_source.resolve_vlm(name)

    def declared_tasks(self, source: EncoderSource) -> frozenset[str] | None:
        from app.families.vlm_source import declared_tasks

        return declared_tasks(Path(source.location)) if source.is_local else None

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Encoder | Vlm:
        """See `FamilyTable`; raises what `load_encoder` and `load_vlm` raise."""
        from app.families.encoders import load_encoder

        return (
            load_encoder(source, config)
            if kind == "encoder"
            else self.get(source.family).load(source, config)
        )

    def _add_foreign(self, point: Any) -> None:
        """One that does not load is left out and said so: the service goes on with the others."""
        try:
            self.register(point.name, point.load())
        except Exception as error:
            log.error("the model family '%s' of %s cannot be used: %s", point.name, point.value, error)


FAMILIES = Families()
"""Those of this process."""


def register_vision_model(name: str, family: Family) -> None:
    """Add a model family to this process: its models are then served, taught, trained and exported like any other.

    Raises ValueError where the name is taken or is not the family's own. A worker is a process of its own: what all
    of them shall know comes by an entry point of the group `llamafarm_vision.families`.
    """
    FAMILIES.register(name, family)
