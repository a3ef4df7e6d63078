"""Many-shot training of a whole model, or of adapters, as a training method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.methods.method import Method
from app.methods.params import AdapterParams, LabelParams, Params, TextParams


class FinetuneParams(LabelParams, TextParams, Params):
    """Many-shot training of a whole model (or of LoRA adapters) with the transformers Trainer."""

    epochs: float = Field(5, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
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

    @property
    def min_examples_in_all(self) -> int:
        """One to train on, and another."""
        return 2

    @model_validator(mode="after")
    def _deepspeeds(self) -> FinetuneParams:
        if self.offload_optimizer and self.deepspeed == "off" and not self.offload_parameters:
            raise ValueError("offload_optimizer is DeepSpeed's: set deepspeed to zero2 or zero3 beside it")
        return self


METHOD = Method(
    FinetuneParams,
    learns={
        "encoder": frozenset({"classification"}),
        "vlm": frozenset({"classification", "vqa", "caption"}),
    },
    trains="the whole model, or LoRA, with the Trainer",
    meant_for="hundreds of examples a label and more",
    strength="Trains the whole model.",
    gains_from_gpu=True,
    position=5,
)
