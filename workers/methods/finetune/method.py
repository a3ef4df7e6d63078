"""Many-shot training of an encoder: the last stages of a tower that can be cut, or a whole tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.families import DEFAULT_ENCODER
from app.families.encoders import locate
from app.inference.family import Family
from app.inference.sources import EncoderConfig, EncoderSource
from app.jobs.errors import NotTrainableError
from app.jobs.spec import ModelCard
from app.methods.finetune import FinetuneParams
from app.methods.params import Params
from workers.methods.finetune.callbacks import CHECKPOINTS
from workers.methods.finetune.encoder import FinetuneEncoder
from workers.shared.examples import Examples
from workers.shared.method import Judgement, Run, TrainingMethod


class EncoderFinetune:
    """See `workers.shared.method.TrainingMethod`."""

    def __init__(self, run: Run, params: FinetuneParams, examples: Examples) -> None:
        self._given = run, params, examples
        self._method: TrainingMethod

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels with two examples each, one of them to train on."""
        FinetuneEncoder.validate(params, examples)

    def prepare(self) -> None:
        """Find the base, whose family and the parameters tell which of the two it is."""
        run, params, examples = self._given
        base = locate(run.spec.base_model or DEFAULT_ENCODER, EncoderConfig.from_settings(run.settings))
        if _trains_tail(*base, params) and not _began_whole(run):
            from workers.methods.finetune.tail import FinetuneTail

            self._method = FinetuneTail(run, params, examples, base)
        else:
            self._method = FinetuneEncoder(run, params, examples)
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


def _began_whole(run: Run) -> bool:
    """Whether the checkpoint is the Trainer's: versions without the tail trained the whole of `lite` too."""
    return run.restored is not None and any(run.restored.glob(f"{CHECKPOINTS}-*"))


def _trains_tail(family: Family, source: EncoderSource, params: FinetuneParams) -> bool:
    """Raises NotTrainableError where the tail is asked for and there is none."""
    has_tail = family.is_cut and source.name == family.built_in
    if params.trains == "tail" and not has_tail:
        raise NotTrainableError(f"'{source.name}' has no tail to train alone: set trains to all.")
    return has_tail and params.trains != "all" and not params.needs_whole


METHOD = EncoderFinetune
