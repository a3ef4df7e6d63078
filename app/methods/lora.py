"""LoRA for encoders and vision-language models as a training method."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from app.methods.method import Method
from app.methods.params import (
    AdapterParams,
    LabelParams,
    Params,
    PublishParams,
    TextParams,
    warmup_note,
    warmup_within,
)


class LoraParams(AdapterParams, LabelParams, PublishParams, TextParams, Params):
    """LoRA (Hu et al. 2021); for CLIP as in CLIP-LoRA (Zanella and Ben Ayed 2024): rank 2 on q, k, v of both towers,
    AdamW 2e-4, dropout .25. For vision-language models (VLMs) on all linear layers of the language model, rank 16,
    dropout .05 (Dettmers et al. 2023).
    """

    steps: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Optimiser steps; empty: 300 for CLIP and SigLIP, 200 for lite; "
        "VLMs: 150 passes within 60 and 300 steps, "
        "but at least 3 passes.",
    )
    epochs: float | None = Field(
        None, gt=0, le=10_000, description="Passes over the training examples, in place of `steps`."
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="AdamW's, after warm-up; empty: 2e-4 for encoders, 2e-3 for lite; for VLMs by the width of the "
        "language model, 2.9e-4 at 4,096 and more for narrower ones (Schulman et al. 2025).",
    )
    rehearsal: float = Field(
        0.5,
        ge=0,
        le=4,
        description="VLMs learning questions: for each example of a batch, how many of the base's own answers to "
        "everyday questions about the same images go in, so that it keeps what it knew (Li and Hoiem 2016); 0 "
        "lets it forget.",
    )
    refit: bool = Field(
        True,
        description="Encoders, where examples were held out to choose the number of steps by: train again on all of "
        "them for as many. The figures are those of the first training. Data with a split of its own keeps it.",
    )
    batch_size: int = Field(8, ge=1, le=4096, description="Examples a forward pass.")
    accumulation: int = Field(1, ge=1, le=4096, description="Forward passes an optimiser step.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations: less memory, a third more time."
    )
    warmup_share: float = Field(
        0.05, ge=0, le=1, description="Share of the steps during which the rate rises."
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="The same as a number of steps; where training has no more than that, the share is used.",
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's.")

    @model_validator(mode="after")
    def _one_length(self) -> LoraParams:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("name steps or epochs, not both")
        return self

    def steps_for(self, examples: int) -> int | None:
        """Optimiser steps that are asked for with so many training examples; None where that is left to the method."""
        if self.epochs is None:
            return self.steps
        return max(math.ceil(self.epochs * examples / (self.batch_size * self.accumulation)), 1)

    def warmup_of(self, total: int) -> float:
        """Steps of `total` during which the rate rises."""
        return warmup_within(self.warmup_steps, self.warmup_share, total)

    def warmup_note(self, total: int) -> str:
        """What a job's log says where `warmup_steps` are no fewer than all steps."""
        return warmup_note(self.warmup_steps or 0, total, math.ceil(self.warmup_of(total)))


METHOD = Method(
    LoraParams,
    learns={
        "encoder": frozenset({"classification"}),
        "vlm": frozenset({"classification", "vqa", "caption"}),
    },
    trains="CLIP, SigLIP: low-rank matrices on q, k and v of both towers; `lite`: its last stages; VLMs: all linear "
    "layers of the language model",
    meant_for="images unlike those that the encoder was made from; answers to new kinds of question",
    strength="Trains an adapter of a few megabytes over a base that stays as it is.",
    gains_from_gpu=True,
    position=1,
)
