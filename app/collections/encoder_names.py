"""Which encoder a client's word means, and which words a client may use at all.

Knows names and nothing of weights. A client names only what the service already knows: a folder of this
machine is none of its business, and a hub id of its choosing is never fetched.
"""

from __future__ import annotations

from pathlib import Path

from app.errors import VisionError
from app.families.encoders import resolve
from app.inference.errors import ModelNotFoundError
from app.inference.model_info import ModelInfo
from app.inference.registry import ModelRegistry
from app.settings import Settings


class EncoderNames:
    """The encoders of one process by name and alias."""

    def __init__(self, settings: Settings, registry: ModelRegistry) -> None:
        self.default = settings.encoder
        """What a collection is bound to that was made without an encoder; a word that the registry takes."""
        self._registry = registry

    def asked(self, name: str) -> str:
        """What a client calls `name`, as a word that the registry takes; raises ModelNotFoundError."""
        for known in self._encoders():
            if name == known.name or name in known.aliases:
                return self.default if known.default else (known.aliases or (known.name,))[0]
        raise ModelNotFoundError(f"There is no model of that name here: {self._shown()}.")

    @staticmethod
    def shown(reference: str) -> str:
        """The slug of what a collection is bound to; also of a model that is no longer there."""
        try:
            return resolve(reference).name
        except VisionError:
            return Path(reference).name.lower()

    def same(self, one: str, other: str) -> bool:
        """Whether two words mean one encoder."""
        return one == other or self.shown(one) == self.shown(other)

    def _encoders(self) -> list[ModelInfo]:
        return [one for one in self._registry.known() if one.kind == "encoder"]

    def _shown(self) -> str:
        names = ", ".join(f"'{one.name}'" for one in self._encoders())
        return f"known are {names}" if names else "none is known"
