"""Many-shot training of the last stages of a tower that can be cut, on what comes before them computed once."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from typing import Any

import torch

from app.inference.family import Family
from app.inference.sources import EncoderSource
from app.jobs.errors import NotTrainableError
from app.methods.finetune import MIN_TAIL_STEPS, FinetuneParams
from app.methods.lora import LoraParams
from app.methods.params import Params
from workers.methods.common.encoder_training import HEAD_RATE
from workers.methods.common.tail import TailTraining
from workers.shared.examples import Examples
from workers.shared.method import Run

_BATCH = 32
_DISK_SHARE = 0.8
"""Of what is free, where `tail_cache_mb` is more."""
_MIB = 1 << 20


class FinetuneTail(TailTraining):
    """See `workers.shared.method.TrainingMethod`; rates, schedule and label weights as where the whole is trained."""

    def __init__(
        self, run: Run, params: FinetuneParams, examples: Examples, base: tuple[Family, EncoderSource]
    ) -> None:
        """`base` is what `app.families.encoders.locate` found of the base model."""
        self.many = params
        size = _BATCH if params.batch_size == "auto" else params.batch_size
        shared = params.model_dump(include=set(Params.model_fields))
        few = LoraParams(
            **shared,
            epochs=params.epochs,
            learning_rate=params.learning_rate,
            batch_size=size,
            accumulation=params.accumulation or 1,
            warmup_steps=params.warmup_steps or None,
            warmup_share=params.warmup_share,
            weight_decay=params.weight_decay,
            publish=params.publish,
            label_shares=params.label_shares,
        )
        super().__init__(run, few, examples, base)

    def build(self) -> None:
        """See `TailTraining`; labels weigh the same unless parameters say otherwise."""
        counts = Counter(item.label for item in self.train)
        if self.many.class_weights:
            balance = [len(self.train) / (len(self.labels) * max(counts[label], 1)) for label in self.labels]
            self.weights = torch.tensor(balance, dtype=torch.float32, device=self.device)
        passes = math.ceil(
            self.many.passes * len(self.train) / (self.params.batch_size * self.params.accumulation)
        )
        self.steps = max(passes, MIN_TAIL_STEPS)
        super().build()
        self.run.log(
            f"The last stages alone are trained, on what comes before them for each image and {self.x.shape[1] - 1} "
            "changed copies of it; trains: all trains the whole tower"
        )

    @property
    def is_balanced(self) -> bool:
        """See `Publishing`."""
        return self.many.class_weights

    def copies(self) -> int:
        """As many as there is room for; raises NotTrainableError without any for the images themselves."""
        free = shutil.disk_usage(self.run.scratch).free * _DISK_SHARE
        room = min(self.many.tail_cache_mb * _MIB, int(free)) // self.view_bytes
        held = len(self.validation) + len(self.test)
        fitting = (room - held) // len(self.train) - 1
        if fitting < 0:
            needed = -(-(len(self.train) + held) * self.view_bytes // _MIB)
            raise NotTrainableError(
                f"What comes before the last stages takes {needed} MiB of disk, for which `tail_cache_mb` or the disk "
                "has no room: raise it, or set trains to all."
            )
        return min(super().copies(), fitting)

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW over two groups: the tail, and the linear layer with its own rate, which counts in logits."""
        rate, head_rate = self.many.learning_rate or self.rate, self.many.head_learning_rate
        parts = self.trained_parameters()
        groups: list[dict[str, Any]] = [
            {"params": [part for name, part in parts.items() if name.startswith("tail.")]},
            {
                "params": [part for name, part in parts.items() if name.startswith("head.")],
                "share": 1.0 if head_rate is None else head_rate / HEAD_RATE / rate,
                "weight_decay": 0.0,
            },
        ]
        return torch.optim.AdamW(groups, lr=rate, weight_decay=self.many.weight_decay)

    def turn(self, step: int) -> float:
        """See `EncoderTraining`: by `schedule`, after warm-up."""
        if self.many.schedule == "cosine":
            return super().turn(step)
        left = 1.0 if self.many.schedule == "constant" else 1 - step / self.total
        return min(step / self.warmup, left)
