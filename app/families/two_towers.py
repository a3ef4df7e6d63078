"""What CLIP and SigLIP share: an image tower and a text tower whose vectors meet in one space."""

from __future__ import annotations

from app.families.hugging_face import HuggingFaceFamily


class TwoTowerFamily(HuggingFaceFamily):
    """Both towers in one checkpoint, with linear layers of the same names."""

    image_part = "vision"
    attention_layers = ("q_proj", "k_proj", "v_proj")
    linear_layers = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
