"""Many-shot training of a whole model, or of adapters, as a training method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.methods.method import Method
from app.methods.params import AdapterParams, LabelParams, Params, PublishParams, TextParams

DEFAULT_EPOCHS = 5
DEFAULT_RATE, DEFAULT_HEAD_RATE = 5e-5, 1e-3
MIN_TAIL_STEPS = 200
"""A few passes over a few hundred images are too few steps to move anything; training ends early where they harm."""


class FinetuneParams(LabelParams, PublishParams, TextParams, Params):
    """Many-shot training of a whole model (or of LoRA adapters) with the transformers Trainer."""

    epochs: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description=f"Passes over the training split; empty: {DEFAULT_EPOCHS}, and where the tail alone is trained at "
        f"least {MIN_TAIL_STEPS} steps.",
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Examples a forward pass and device; auto measures."
    )
    accumulation: int | None = Field(
        None, ge=1, description="Forward passes an optimiser step; empty: chosen with the batch."
    )
    trains: Literal["tail", "all"] | None = Field(
        None,
        description="Encoders: `tail` trains the last stages alone, on what comes before them computed once an image "
        "and changed copy; `all` the whole tower; empty: `tail` for `lite`, where nothing else asks for the whole.",
    )
    tail_cache_mb: int = Field(
        8192,
        ge=1,
        description="`trains: tail`: MiB of disk for what comes before the last stages; with less room fewer changed "
        "copies are shown, and where even the images themselves have none, the job is refused.",
    )
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Peak rate; empty: 5e-5, and 2e-3 where the tail alone is trained."
    )
    head_learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak rate of a new classification head; empty: 1e-3, and 2e-2 where the tail alone is trained.",
    )
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
    sharding: Literal["zero", "fsdp"] = Field(
        "zero",
        description="What divides training among processes: DeepSpeed at the stage of `deepspeed`, or PyTorch's FSDP2, "
        "which divides weights, gradients and optimizer state and needs no DeepSpeed.",
    )
    deepspeed: Literal["off", "zero2", "zero3"] = Field("off", description="ZeRO stage.")
    offload_optimizer: bool = Field(False, description="Keep optimizer state in host memory (ZeRO).")
    offload_parameters: bool = Field(
        False,
        description="Keep parameters in host memory; raises ZeRO's stage to 3; FSDP2 keeps gradients and optimizer "
        "state there too.",
    )

    @property
    def min_examples_in_all(self) -> int:
        """One to train on, and another."""
        return 2

    @property
    def divides_state(self) -> bool:
        """Whether each rank keeps its share alone of gradients and optimizer state."""
        return self.sharding == "fsdp" or self.deepspeed != "off" or self.offload_parameters

    @property
    def passes(self) -> float:
        """Over the training split."""
        return DEFAULT_EPOCHS if self.epochs is None else self.epochs

    @property
    def peak_rate(self) -> float:
        """Of the whole model."""
        return DEFAULT_RATE if self.learning_rate is None else self.learning_rate

    @property
    def peak_head_rate(self) -> float:
        """Of its new classification head."""
        return DEFAULT_HEAD_RATE if self.head_learning_rate is None else self.head_learning_rate

    @property
    def needs_whole(self) -> list[str]:
        """Fields that only training the whole tower takes, and that are set."""
        asks = {
            "lora": self.lora is not None,
            "gradient_checkpointing": self.gradient_checkpointing,
            "precision": self.precision in ("bf16", "fp16"),
            "processes": self.processes > 1,
            "nodes": self.nodes > 1,
            "sharding": self.sharding != "zero",
            "deepspeed": self.deepspeed != "off",
            "offload_optimizer": self.offload_optimizer,
            "offload_parameters": self.offload_parameters,
        }
        return [name for name, is_set in asks.items() if is_set]

    @model_validator(mode="after")
    def _tail_alone(self) -> FinetuneParams:
        if self.trains == "tail" and self.needs_whole:
            raise ValueError(
                f"trains tail takes no {', '.join(self.needs_whole)}: leave them out, or set trains to all"
            )
        return self

    @model_validator(mode="after")
    def _deepspeeds(self) -> FinetuneParams:
        if self.sharding == "fsdp":
            self._check_fsdp()
        elif self.offload_optimizer and self.deepspeed == "off" and not self.offload_parameters:
            raise ValueError("offload_optimizer is DeepSpeed's: set deepspeed to zero2 or zero3 beside it")
        return self

    def _check_fsdp(self) -> None:
        """Raise ValueError for what FSDP2 does not do here."""
        if self.deepspeed != "off":
            raise ValueError("sharding fsdp and deepspeed exclude each other: leave one of them out")
        if self.processes * self.nodes < 2:
            raise ValueError("sharding fsdp divides among processes: set processes or nodes to 2 or more")
        if self.offload_optimizer:
            raise ValueError(
                "FSDP2 keeps optimizer state where the parameters are: set offload_parameters in place of "
                "offload_optimizer"
            )
        if self.lora is not None and self.lora.four_bit:
            raise ValueError("FSDP2 divides no weights of 4 bits: leave lora.four_bit out, or sharding")
        if self.precision == "fp16":
            raise ValueError("sharding fsdp trains in bf16 or fp32: fp16 needs sharding zero")


METHOD = Method(
    FinetuneParams,
    learns={
        "encoder": frozenset({"classification"}),
        "vlm": frozenset({"classification", "vqa", "caption"}),
    },
    trains="the whole model, or LoRA, with the Trainer; `lite`: its last stages",
    meant_for="hundreds of examples a label and more",
    strength="Trains the whole model.",
    gains_from_gpu=True,
    position=5,
)
