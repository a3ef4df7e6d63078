"""Many-shot classification: an encoder's image tower and a linear head on it, trained together by the Trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from app.families import DEFAULT_ENCODER
from app.inference.protocols import Vectors
from app.jobs.errors import NotTrainableError
from app.jobs.spec import ModelCard
from app.methods.finetune import FinetuneParams
from app.methods.params import ENCODER_PATIENCE, Params
from app.models.classifiers import ClassifierNote, TrainedClassifier, Weights, save_classifier
from workers.methods.common.calibrating import fit_scale, judge_classifier, judgement_of
from workers.methods.common.classifiers import check_labels, describe_classifier, note_classifier
from workers.methods.common.expecting import shift_logits
from workers.methods.common.precision import forward_pass
from workers.methods.common.splits import check_training_labels, split_items, targets
from workers.methods.finetune.arguments import forward_dtype, rank_device, training_arguments
from workers.methods.finetune.callbacks import CountingTrainer, callbacks_for, run_trainer
from workers.methods.finetune.classifier import Classifier, write_tower
from workers.methods.finetune.fitting import available_bytes, fitting_batches, state_bytes
from workers.methods.finetune.fully_sharded import fsdp_config
from workers.methods.finetune.pixels import PixelData
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, Run
from workers.shared.metrics import NOT_JUDGED
from workers.shared.towers import image_tower

_MIN_EXAMPLES = 2
_EXEMPLARS = 16
"""Examples a label that stand for it in the served classifier."""
_PROBED, _PROBED_ALL = 64, 1024
"""Most examples a label, and of all labels together, that the head's start is fitted on."""
_BATCH = 32


class FinetuneEncoder:
    """See `workers.shared.method.TrainingMethod`."""

    judgement: Judgement | None = None

    def __init__(self, run: Run, params: FinetuneParams, examples: Examples) -> None:
        self.run, self.params, self.examples = run, params, examples
        self.device = rank_device(run.settings)
        self.labels = examples.labels
        self.factor = 1.0
        self.best_step = 0

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels with two examples each, one of them to train on."""
        check_labels(examples)
        few = [label for label, count in sorted(examples.counts.items()) if count < _MIN_EXAMPLES]
        if few:
            raise NotTrainableError(
                f"Training needs at least {_MIN_EXAMPLES} examples a label; '{few[0]}' has fewer."
            )
        check_training_labels(examples)

    def prepare(self) -> None:
        """Load the tower, split, choose the batch size by a dry run, and start the head as a linear probe."""
        run, params = self.run, self.params
        transformers.set_seed(run.spec.seed)
        self.tower = image_tower(run.spec.base_model or DEFAULT_ENCODER, run.settings)
        self.train, self.validation, self.test = split_items(
            self.examples, params.validation_share, run.spec.seed
        )
        counts = Counter(item.label for item in self.train)
        self.model = Classifier(
            self.tower, len(self.labels), params, [counts[label] for label in self.labels]
        )
        self.model.to(self.device)
        if run.restored is None:
            chosen = _first_of_each(
                self.train, max(min(_PROBED, _PROBED_ALL // len(self.labels)), _MIN_EXAMPLES)
            )
            self.model.start_head(self.features_of(chosen), np.array(targets(chosen, self.labels)))
        if params.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.batches = fitting_batches(
            params,
            partial(_dry_step, self.model, self.tower.side, self.device, forward_dtype(params, self.device)),
            device=self.device,
            budget_bytes=available_bytes(run.settings, self.device),
            state_bytes=state_bytes(self.model, params, self.device),
        )
        run.log(
            f"{len(self.train)} examples to train on, {len(self.validation)} to choose by, {len(self.test)} to judge by"
        )
        run.log(self.batches.reason)

    def fit(self) -> None:
        """The Trainer's loop, with early stopping by accuracy on the held-out examples."""
        folder = self.run.scratch / "trainer"
        trained, self.best_step = run_trainer(self.trainer(folder), self.run, folder, self.model)
        self.model = trained.to(self.device)

    def trainer(self, folder: Path) -> transformers.Trainer:
        """The Trainer over what `prepare` made, which writes into `folder`."""
        run, params = self.run, self.params
        patience = ENCODER_PATIENCE if params.patience is None else params.patience
        data = partial(PixelData, self.examples, self.tower.preprocess, self.labels)
        arguments = training_arguments(
            params,
            self.batches,
            folder=folder,
            examples=len(self.train),
            evaluates=bool(self.validation),
            seed=run.spec.seed,
            device=self.device,
            metric="eval_accuracy",
            log=run.log,
            fsdp=fsdp_config(params, self.model, self.device),
        )
        return _Fitter(
            params,
            forward_format=(self.device, forward_dtype(params, self.device)),
            model=self.model,
            args=arguments,
            train_dataset=data(
                self.train, seed=run.spec.seed, changes=params.changes() if params.augment else None
            ),
            eval_dataset=data(self.validation) if self.validation else None,
            compute_metrics=_accuracy,
            callbacks=callbacks_for(run, patience if self.validation else 0, self.device),
        )

    def evaluate(self) -> dict[str, Any]:
        """Figures on the test split, or on the held-out examples where there is none (and then says so)."""
        held = self.features_of(self.validation)
        rows, bias = self.model.head_rows(1.0)
        y = np.array(targets(self.validation, self.labels), int)
        self.factor = fit_scale(np.asarray(held @ rows.T + bias, np.float64), y)
        items = self.test or self.validation
        if not items:
            return {"evaluated_on": NOT_JUDGED, "best_step": self.best_step}
        found = self._classifier().predict(self.features_of(items) if self.test else held)
        figures = judge_classifier(items, found, self.labels)
        on: Literal["test", "validation"] = "test" if self.test else "validation"
        self.judgement = judgement_of(self.train, items, found, self.labels, on)
        return {**figures, "evaluated_on": on, "best_step": self.best_step}

    def save(self, folder: Path) -> ModelCard:
        """The tower's weights, the head, and how they fit."""
        note = self._note()
        trained = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        written = write_tower(self.model, self.tower, folder)
        files = [*save_classifier(folder, note, self._weights()), *written]
        return describe_classifier(
            note, files, {"trained_on": len(self.train), "batches": self.batches.reason}, trained
        )

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """float32[n, d]: unit features of unchanged images by the tower as it is now."""
        self.model.eval()
        parts = [np.zeros((0, self.tower.dim), np.float32)]
        with torch.no_grad():
            for start in range(0, len(items), _BATCH):
                images = [
                    self.tower.preprocess(self.examples.image(item)) for item in items[start : start + _BATCH]
                ]
                pixels = torch.from_numpy(np.stack(images)).to(self.device)
                parts.append(self.model.features(pixels).float().cpu().numpy())
        return np.concatenate(parts)

    def _note(self) -> ClassifierNote:
        tower = self.tower
        return note_classifier(self.run.spec, tower.family, tower, self.labels, tower.adapted)

    def _weights(self) -> Weights:
        chosen = _first_of_each(self.train, _EXEMPLARS)
        owners = np.array(targets(chosen, self.labels))
        rows, bias = self.model.head_rows(self.factor)
        y = np.array(targets(self.train, self.labels))
        bias = bias + shift_logits(self.params, self.examples, y, is_balanced=self.params.class_weights)
        return Weights(self.features_of(chosen), owners.astype(np.int64), None, (), rows, bias)

    def _classifier(self) -> TrainedClassifier:
        return TrainedClassifier(self._note(), self._weights())


class _Fitter(CountingTrainer):
    """A Trainer with the rates of `Classifier.groups`; one that is handed over is dropped where DeepSpeed is on."""

    def __init__(self, params: FinetuneParams, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._params = params

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW over two groups: the tower and the head."""
        if self.optimizer is None:
            groups = cast(Classifier, self.model).groups(self._params)
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self._params.weight_decay)
        return self.optimizer


def _first_of_each(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items of each label, in the order of their hashes, which says nothing of what they show."""
    counts: Counter[str] = Counter()
    chosen = []
    for item in items:
        label = item.label or ""
        if counts[label] < most:
            counts[label] += 1
            chosen.append(item)
    return chosen


def _dry_step(model: Classifier, side: int, device: torch.device, dtype: torch.dtype, size: int) -> None:
    model.train()
    pixels = torch.zeros(size, 3, side, side, device=device)
    labels = torch.zeros(size, dtype=torch.long, device=device)
    with forward_pass(device, dtype):
        loss = model(pixels, labels)["loss"]
    loss.backward()
    model.zero_grad(set_to_none=True)


def _accuracy(found: Any) -> dict[str, float]:
    logits: NDArray[Any] = found.predictions
    return {"accuracy": float((logits.argmax(axis=-1) == found.label_ids).mean())}
