"""SigLIP and the fixed-resolution SigLIP 2 (Zhai et al. 2023; Tschannen et al. 2025).

Their sigmoid's bias is the same for every label and leaves a softmax over labels unchanged, so it is not used;
`temperature` is exp(logit_scale).
"""

from __future__ import annotations

from typing import Any

from app.families.hugging_face import TwoTowerFamily


class Siglip(TwoTowerFamily):
    """See `app.inference.family.Family`."""

    name = "siglip"
    model_types = ("siglip",)  # not `siglip2`, the NaFlex variant of many sizes
    architectures = ("SiglipModel",)
    hub_hints = ("siglip",)
    vision_class = "SiglipVisionModel"
    text_class = "SiglipTextModel"
    padding = "max_length"  # it was trained on texts padded to the full length; CLIP masks the padding

    def dim_of(self, config: Any) -> int:
        return int(config.vision_config.hidden_size)


FAMILY = Siglip()
