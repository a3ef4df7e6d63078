"""What the encoder families share whose checkpoints transformers loads; each states its classes and its layers.

Imports neither torch nor transformers; what loads, trains and writes is in `hugging_face_encoder`,
`hugging_face_adapter` and `hugging_face_training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.families.hugging_face_spec import HuggingFaceSpec
from app.inference.errors import ModelUnavailableError
from app.inference.family import AdaptableEncoder, ImageTower, TextSide
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig, EncoderSource


class HuggingFaceFamily(HuggingFaceSpec):
    """How such a family is loaded, trained and written."""

    def load(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        from app.families.hugging_face_encoder import HuggingFaceEncoder, TwoTowerEncoder

        return (TwoTowerEncoder if self.reads_texts else HuggingFaceEncoder)(self, source, config)

    def load_adapted(self, source: EncoderSource, note: Mapping[str, Any], config: EncoderConfig) -> Encoder:
        """See `Family`: a whole encoder of its own, or a LoRA adapter over its base."""
        if note.get("adapted") == "full":  # so that no base is needed
            return self.load(source, config)
        if note.get("adapted") != "peft":
            raise ModelUnavailableError(f"'{source.name}' changes its encoder in a way that is not served.")
        from app.families.hugging_face_adapter import load_peft

        return load_peft(source, note, config)

    def image_tower(self, source: EncoderSource, config: EncoderConfig) -> ImageTower:
        from app.families import hugging_face_training

        return hugging_face_training.image_tower(self, source, config)

    def text_side(self, tower: ImageTower) -> TextSide:
        if self.text_class is None or tower.folder is None:
            return super().text_side(tower)
        from app.families import hugging_face_training

        return hugging_face_training.text_side(self, tower.folder)

    def adaptable(self, source: EncoderSource, config: EncoderConfig) -> AdaptableEncoder:
        from app.families import hugging_face_training

        return hugging_face_training.adaptable(self, source, config)

    def apply_changes(self, tower: ImageTower, adapted: str, folder: Path) -> None:
        from app.families import hugging_face_training

        hugging_face_training.apply_changes(self, tower, adapted, folder)

    def write_changed(self, tower: ImageTower, state: Mapping[str, Any], folder: Path) -> list[str]:
        """See `Family`: the whole encoder with this image tower."""
        from app.families import hugging_face_training

        return hugging_face_training.write_changed(self, tower, state, folder)

    def write_merged(
        self, source: EncoderSource, config: EncoderConfig, changes: tuple[str, Path] | None, folder: Path
    ) -> None:
        from app.families import hugging_face_training

        hugging_face_training.write_merged(self, source, changes, folder)


class TwoTowerFamily(HuggingFaceFamily):
    """What CLIP and SigLIP share: an image and a text tower in one checkpoint, whose vectors meet in one space."""

    image_part = "vision"
    attention_layers = ("q_proj", "k_proj", "v_proj")
    linear_layers = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
