"""What every vision-language family of transformers shares; each states its configurations and its classes.

Imports neither torch nor transformers; loading does.
"""

from __future__ import annotations

from app.families.transformers_spec import TransformersVlmSpec
from app.inference.protocols import Vlm
from app.inference.sources import EncoderConfig, EncoderSource


class TransformersVlmFamily(TransformersVlmSpec):
    """How such a family is loaded."""

    def load(self, source: EncoderSource, config: EncoderConfig) -> Vlm:
        from app.families.vlms import load_vlm

        return load_vlm(source, config)
