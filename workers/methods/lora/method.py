"""Adapting an encoder to a few labels: low-rank adapters, or the last stages of a tower that can be cut.

Knows which of the two fits a family; each is in a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.families import BUILT_IN
from app.families.encoders import locate, resolve
from app.inference.sources import EncoderConfig
from app.jobs.spec import ModelCard
from app.methods.lora import LoraParams
from app.methods.params import Params
from workers.methods.lora.encoder_training import EncoderTraining
from workers.shared.examples import Examples
from workers.shared.method import Judgement, Run, TrainingMethod


class EncoderLora:
    """See `workers.shared.method.TrainingMethod`."""

    def __init__(self, run: Run, params: LoraParams, examples: Examples) -> None:
        config = EncoderConfig.from_settings(run.settings)
        family, _ = locate(resolve(run.spec.base_model or BUILT_IN), config)
        self._method: TrainingMethod
        if family.is_cut:
            from workers.methods.lora.tail import TailTraining

            self._method = TailTraining(run, params, examples)
        else:
            from workers.methods.lora.adapter import ImageLora, TextLora

            self._method = (TextLora if family.reads_texts else ImageLora)(run, params, examples)

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

    @property
    def judgement(self) -> Judgement | None:
        """See `TrainingMethod`."""
        found: Judgement | None = getattr(self._method, "judgement", None)
        return found

    def save(self, folder: Path) -> ModelCard:
        """See `TrainingMethod`."""
        return self._method.save(folder)


METHOD = EncoderLora
