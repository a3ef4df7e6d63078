"""What a vision-language family of transformers says of its checkpoints: architectures and our classes of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from app.inference.family import Family

if TYPE_CHECKING:
    from app.families.transformers_vlm import TransformersVlm


class TransformersVlmSpec(Family):
    """A model and its processor, loaded from a checkpoint of Hugging Face; adapters lie over it."""

    kind = "vlm"
    classes: ClassVar[Mapping[str, str]]
    """Architecture in `config.json`, which is transformers' class -> our class of it, as `module:class`."""

    @property
    def architectures(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.classes)

    def accepted_architecture(self, config: Mapping[str, Any]) -> str | None:
        named = config.get("architectures")
        found = named[0] if isinstance(named, list) and named else None
        return found if isinstance(found, str) and found in self.classes else None

    def vlm_class(self, architecture: str) -> type[TransformersVlm]:
        """Our class of an architecture; imports torch and transformers."""
        module, _, name = self.classes[architecture].partition(":")
        found: type[TransformersVlm] = getattr(importlib.import_module(module), name)
        return found
