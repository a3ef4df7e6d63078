"""Every hyper-parameter of every training method: its default, its range and what it does.

Knows numbers and their sources; knows nothing of how a method uses them. The service checks a job's `params`
against these before it accepts it, and the strategies are checked against them when they are read.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import InvalidInputError
from app.http.wrong_fields import complaints
from app.media.augmentation import OFF, AugmentationSettings
from app.methods.tasks import Method, Metric


class Params(BaseModel):
    """What every method takes."""

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, json_schema_extra={"additionalProperties": False}
    )

    validation_share: float = Field(
        0.2,
        ge=0,
        le=0.5,
        description="Share of the examples held out, at least one a label, to choose the best checkpoint; 0 uses "
        "none and keeps the last. Ignored where the data brings its own split.",
    )
    augment: bool = Field(True, description="Show changed copies of the examples; see docs/training.md.")
    flip: bool = Field(
        False, description="Let augmentation mirror images: only where a mirrored image keeps its label."
    )
    augmentations: list[Literal["rotation", "brightness", "noise", "crop", "flip"]] | None = Field(
        None, description="Only these changes; empty: all that the method uses."
    )
    examples_per_label: int | None = Field(
        None,
        ge=1,
        description="Train on at most so many examples of each label (of all, where there are no labels), chosen by "
        "the seed; empty: on all. Held-out examples with a split of their own stay.",
    )
    max_answer_chars: int | None = Field(
        None, ge=1, description="Leave out examples whose answer is longer; empty: none."
    )
    metrics: list[Metric] | None = Field(
        None, description="Figures of the evaluation that are kept; empty: all that apply."
    )
    checkpoint_every: int = Field(50, ge=1, description="Steps between two checkpoints.")
    patience: int = Field(
        10, ge=0, description="Evaluations without improvement before training stops; 0 never stops early."
    )
    evaluate_every: int = Field(25, ge=1, description="Steps between two looks at the held-out examples.")

    def changes(self, usual: AugmentationSettings | None = None) -> AugmentationSettings:
        """How augmentation changes examples, where `usual` is what the method does; nothing where it is off."""
        if not self.augment:
            return OFF
        base = (usual or AugmentationSettings()).model_dump()
        if self.augmentations is not None:
            chosen = set(self.augmentations)
            kept = {name: value if name in chosen else 0 for name, value in base.items()}
            return AugmentationSettings.model_validate({**kept, "flip": "flip" in chosen})
        return AugmentationSettings.model_validate({**base, "flip": self.flip or base["flip"]})


def warmup_within(steps: int | None, share: float, total: int) -> float:
    """Steps of warm-up: `steps` where training is longer than that, else `share` of `total`. A rate that rises to the
    end never reaches its peak.
    """
    return steps if steps and steps < total else share * total


class HeadParams(Params):
    """The closed-form head alone, published as a model."""


class AdapterParams(BaseModel):
    """What low-rank adapters are like, whoever trains them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    rank: int | None = Field(None, ge=1, le=1024, description="Empty: 2 for encoders, 16 for VLMs.")
    alpha: float | None = Field(
        None, gt=0, description="Scale of the update; empty: rank for encoders, twice the rank for VLMs."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Before the low-rank update; empty: .25 for encoders, .05 for VLMs."
    )
    targets: list[str] | None = Field(None, description="Names of linear layers; empty: by family.")
    train_projector: bool = Field(True, description="Train a VLM's projector beside the adapter.")
    four_bit: bool = Field(False, description="Load the base in 4 bits (needs CUDA and bitsandbytes).")


class TextParams(BaseModel):
    """How long the texts may be that a vision-language model learns."""

    max_text_tokens: int | None = Field(
        None,
        ge=1,
        le=20_000,
        description="VLMs: most tokens of question and answer together, without the image's; empty: the context's.",
    )
    truncate_texts: bool = Field(
        False,
        description="VLMs: cut answers that make an example longer, and teach no end there; off: leave such examples "
        "out. Whose question alone is too long is left out in any case.",
    )


DEFAULT_QUESTION = "What is this?"
"""What a vision-language model that learns labels is asked about every image."""
MAX_QUESTION_CHARS = 500


class LabelParams(BaseModel):
    """How labels are taught to a vision-language model."""

    question: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_QUESTION_CHARS,
        description="VLMs learning labels: what is asked about every image, whose label is the answer; empty: "
        f'"{DEFAULT_QUESTION}"',
    )


class LoraParams(AdapterParams, LabelParams, TextParams, Params):
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
        description="AdamW's, after warm-up; empty: 2e-4 for encoders; for VLMs by the width of the language "
        "model, 2.9e-4 at 4,096 and more for narrower ones (Schulman et al. 2025).",
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
        return (
            f"{self.warmup_steps} steps of warm-up are no fewer than the training's {total}: "
            f"the rate rises for {math.ceil(self.warmup_of(total))}."
        )


class EpisodicParams(Params):
    """What methods that learn from episodes share: `ways` labels, `shots` supports and `queries` a label."""

    steps: int = Field(300, ge=1, le=1_000_000, description="Episodes.")
    ways: int | None = Field(None, ge=2, le=1000, description="Labels an episode; empty: all, at most 20.")
    shots: int | None = Field(
        None, ge=1, le=100, description="Supports a label; empty: half of the examples, at most 5."
    )
    queries: int | None = Field(
        None, ge=1, le=100, description="Queries a label; empty: the rest, at most 15."
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Adam's in the outer loop.")
    dim: int = Field(256, ge=8, le=4096, description="Size of the learned embedding.")
    end_to_end: bool = Field(
        False,
        description="Train the encoder's last stages too, on pixels; else a projection of its features.",
    )


class PrototypicalParams(EpisodicParams):
    """Prototypical networks (Snell et al. 2017): squared Euclidean distance to class means."""


class MamlParams(EpisodicParams):
    """MAML (Finn et al. 2017) or ANIL (Raghu et al. 2020), whose inner loop adapts the head alone."""

    steps: int = Field(200, ge=1, le=1_000_000, description="Outer steps.")
    algorithm: Literal["anil", "maml"] = Field(
        "anil", description="What the inner loop adapts: the head, or all."
    )
    first_order: bool = Field(False, description="Leave second derivatives out (FOMAML).")
    inner_steps: int = Field(5, ge=1, le=100, description="Gradient steps of the inner loop.")
    inner_rate: float = Field(
        0.1, gt=0, le=10, description="Its learning rate for the head; a tenth of it for the projection."
    )
    tasks_per_step: int = Field(4, ge=1, le=64, description="Episodes an outer step.")


class SiameseParams(Params):
    """Siamese networks on pairs (contrastive: Hadsell et al. 2006) or triplets (Schroff et al. 2015)."""

    steps: int = Field(300, ge=1, le=1_000_000, description="Optimiser steps.")
    loss: Literal["contrastive", "triplet"] = Field("triplet", description="Pairs or triplets.")
    margin: float | None = Field(
        None,
        gt=0,
        le=4,
        description="Between unit vectors; empty: .3 of squared distance for triplets, 1 of distance for pairs.",
    )
    batch_size: int = Field(32, ge=2, le=4096, description="Examples a step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="AdamW's.")
    dim: int = Field(256, ge=8, le=4096, description="Size of the learned embedding.")
    end_to_end: bool = Field(False, description="Train the encoder's last stages too, on pixels.")


class FinetuneParams(LabelParams, TextParams, Params):
    """Many-shot training of a whole model (or of LoRA adapters) with the transformers Trainer."""

    epochs: float = Field(5, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: int | Literal["auto"] = Field(
        "auto", description="Examples a forward pass and device; auto measures."
    )
    accumulation: int | None = Field(
        None, ge=1, description="Forward passes an optimiser step; empty: chosen with the batch."
    )
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak rate.")
    head_learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak rate of a new classification head.")
    schedule: Literal["linear", "cosine", "constant"] = Field("cosine", description="Decay after warm-up.")
    warmup_steps: int = Field(0, ge=0, description="Steps during which the rate rises.")
    warmup_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The same as a share; used when warmup_steps is 0, or training has no more steps than that.",
    )
    weight_decay: float = Field(0.05, ge=0, le=1, description="AdamW's.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the device has it."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations.")
    class_weights: bool = Field(True, description="Weigh labels by the inverse of their frequency.")
    lora: AdapterParams | None = Field(
        None, description="Train adapters instead of the whole model; `{}` takes them as they usually are."
    )
    processes: int = Field(1, ge=1, le=1024, description="Ranks on one node.")
    nodes: int = Field(1, ge=1, le=1024, description="Nodes; the worker's rendezvous setting joins them.")
    deepspeed: Literal["off", "zero2", "zero3"] = Field("off", description="ZeRO stage.")
    offload_optimizer: bool = Field(False, description="Keep optimizer state in host memory.")
    offload_parameters: bool = Field(
        False, description="Keep parameters in host memory; raises the stage to 3."
    )

    @model_validator(mode="after")
    def _deepspeeds(self) -> FinetuneParams:
        if self.offload_optimizer and self.deepspeed == "off" and not self.offload_parameters:
            raise ValueError("offload_optimizer is DeepSpeed's: set deepspeed to zero2 or zero3 beside it")
        return self


PARAMS: dict[Method, type[Params]] = {
    "head": HeadParams,
    "lora": LoraParams,
    "prototypical": PrototypicalParams,
    "maml": MamlParams,
    "siamese": SiameseParams,
    "finetune": FinetuneParams,
}


def checked(method: Method, values: dict[str, Any]) -> dict[str, Any]:
    """The method's parameters with defaults filled in; raises InvalidInputError naming each wrong field."""
    try:
        return PARAMS[method].model_validate(values).model_dump()
    except ValidationError as error:
        found = error.errors()
        wrong = complaints(found, "params.")
        if any(one["type"] == "extra_forbidden" and len(one["loc"]) == 1 for one in found):
            wrong += f". There are {', '.join(PARAMS[method].model_fields)}"
        raise InvalidInputError(f"The parameters of '{method}' are wrong: {wrong}.") from None
