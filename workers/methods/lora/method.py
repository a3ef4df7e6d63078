"""Adapting an encoder to a few labels: low-rank adapters, or the last stages of a tower that can be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.families import DEFAULT_ENCODER
from app.families.encoders import locate
from app.inference.sources import EncoderConfig
from app.jobs.spec import ModelCard
from app.methods.lora import LoraParams
from app.methods.params import Params
from workers.methods.common.encoder_training import EncoderTraining
from workers.shared.examples import Examples
from workers.shared.method import Judgement, Run, TrainingMethod


class EncoderLora:
    """See `workers.shared.method.TrainingMethod`."""

    def __init__(self, run: Run, params: LoraParams, examples: Examples) -> None:
        self._given = run, params, examples
        self._method: TrainingMethod

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, each with an example to train on."""
        EncoderTraining.validate(params, examples)

    def prepare(self) -> None:
        """Find the base, whose family tells which of the two it is."""
        run, params, examples = self._given
        config = EncoderConfig.from_settings(run.settings)
        base = locate(run.spec.base_model or DEFAULT_ENCODER, config)
        family, _ = base
        if family.is_cut:
            from workers.methods.common.tail import TailTraining

            self._method = TailTraining(run, params, examples, base)
        else:
            from workers.methods.lora.adapter import ImageLora, TextLora

            self._method = (TextLora if family.reads_texts else ImageLora)(run, params, examples, base)
        self._method.prepare()

    def fit(self) -> None:
        self._method.fit()

    def evaluate(self) -> dict[str, Any]:
        return self._method.evaluate()

    @property
    def judgement(self) -> Judgement | None:
        """See `TrainingMethod`."""
        found: Judgement | None = getattr(self._method, "judgement", None)
        return found

    def save(self, folder: Path) -> ModelCard:
        return self._method.save(folder)


METHOD = EncoderLora
