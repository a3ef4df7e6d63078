"""Adapting an encoder to a few labels: low-rank adapters in CLIP and SigLIP, the last stages of `lite`.

Knows which of the two fits which family; each is in a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.families.encoders import resolve
from app.jobs.spec import ModelCard
from app.methods.params import LoraParams, Params
from workers.methods.common.encoder_training import EncoderTraining
from workers.shared.examples import Examples
from workers.shared.method import Run, TrainingMethod


class EncoderLora:
    """See `workers.shared.method.TrainingMethod`."""

    def __init__(self, run: Run, params: LoraParams, examples: Examples) -> None:
        family = resolve(run.spec.base_model or "lite").family
        self._method: TrainingMethod
        if family == "lite":
            from workers.methods.lora.lite import LiteTailTraining

            self._method = LiteTailTraining(run, params, examples)
        else:
            from workers.methods.lora.clip import ClipLora

            self._method = ClipLora(run, params, examples)

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, each with an example to train on."""
        EncoderTraining.validate(params, examples)

    def prepare(self) -> None:
        """See `TrainingMethod`."""
        self._method.prepare()

    def fit(self) -> None:
        """See `TrainingMethod`."""
        self._method.fit()

    def evaluate(self) -> dict[str, Any]:
        """See `TrainingMethod`."""
        return self._method.evaluate()

    def save(self, folder: Path) -> ModelCard:
        """See `TrainingMethod`."""
        return self._method.save(folder)
