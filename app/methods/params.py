"""Hyper-parameters that several training methods take: default, range and what each does."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.heads import LabelShares
from app.media.augmentation import OFF, AugmentationSettings
from app.methods.tasks import Metric

DEFAULT_PATIENCE = 10
ENCODER_PATIENCE = 4
"""What is trained begins as the closed-form head, so that it need not find its way first."""


class Params(BaseModel):
    """Parameters that every method takes."""

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
    patience: int | None = Field(
        None,
        ge=0,
        description=f"Evaluations without improvement before training stops; empty: {ENCODER_PATIENCE} where an "
        f"encoder learns labels by adapters or by its last stages, else {DEFAULT_PATIENCE}; 0 never stops early.",
    )
    evaluate_every: int = Field(
        25, ge=1, description="Steps between two evaluations on the held-out examples."
    )

    @property
    def min_examples_per_label(self) -> int:
        """Training examples that each label needs, where labels are learned."""
        return 1

    @property
    def min_examples_in_all(self) -> int:
        """Examples that each label needs, held-out ones included, where an encoder learns labels."""
        return self.min_examples_per_label

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


def warmup_note(asked: int, total: int, warmup: int) -> str:
    """What a job's log says where the `asked` steps of warm-up are no fewer than all: the rate rises for `warmup`."""
    return f"{asked} steps of warm-up are no fewer than the training's {total}: the rate rises for {warmup}."


class AdapterParams(BaseModel):
    """Parameters of low-rank adapters."""

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
    four_bit: bool = Field(
        False,
        description="VLMs: train over a base in 4 bits, as QLoRA does (needs CUDA and bitsandbytes, which the extra "
        "`quantised` brings).",
    )
    attention: Literal["auto", "eager", "sdpa"] = Field(
        "auto",
        description="VLMs: how attention is computed; auto: torch's fused one on GPUs (flash attention where they "
        "have it), the plain one on CPUs, where the fused one trains more slowly.",
    )
    image_cache_mb: int = Field(
        2048,
        ge=0,
        description="VLMs: MiB of memory for what the frozen image tower makes of images that are shown unchanged, so "
        "that each is computed once; images beyond that are computed each time; 0 keeps none.",
    )


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


class SharesParams(BaseModel):
    """How often each label is expected."""

    label_shares: LabelShares | None = Field(
        None,
        description="Encoders: how often the model expects each label: `equal`, all alike; `examples`, as often as "
        "there are examples of it; empty: as the collection that it learns from does, and of a dataset closed-form "
        "heads all alike and a trained classifier as its loss counted them.",
    )


class PublishParams(SharesParams):
    """What comes of training an encoder's own weights."""

    publish: Literal["best", "trained"] = Field(
        "best",
        description="Encoders: `best` publishes the closed-form head on the encoder as it was, where nothing that was "
        "trained has a lower loss on what was held out; `trained` what was trained, whatever the head reaches; see "
        "docs/training.md. Training a whole tower publishes that.",
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

    @property
    def min_examples_per_label(self) -> int:
        """A support and a query."""
        return 2
