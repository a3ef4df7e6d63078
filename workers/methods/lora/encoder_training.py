"""What training an encoder's own weights on labels shares, whichever weights they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.families import DEFAULT_ENCODER
from app.inference import device as devices
from app.inference.family import AdaptableEncoder, CutTower, Family
from app.inference.protocols import Vectors
from app.inference.sources import EncoderSource
from app.jobs.errors import NotTrainableError
from app.jobs.spec import ModelCard
from app.methods.lora import LoraParams
from app.methods.params import Params
from app.models.classifiers import ClassifierNote, TrainedClassifier, Weights, few_exemplars, save_classifier
from workers.methods.common.calibrating import fitted_scale, judged, judgement_of, looked_at
from workers.methods.common.classifiers import check_labels, describe_classifier, note_classifier
from workers.methods.common.looping import Parts, Pass, Stepped, noted
from workers.methods.common.reproducible import deterministic
from workers.methods.common.splits import check_taught, split_items, targets
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, Run
from workers.shared.metrics import NOT_JUDGED
from workers.shared.throughput import Throughput

_GRADIENT_NORM = 1.0
_HEAD_RATE = 10.0


class EncoderTraining(Stepped):
    """See `workers.shared.method.TrainingMethod`; a subclass says what is trained and what a batch's logits are."""

    params: LoraParams
    base: AdaptableEncoder | CutTower
    """`build` loads it."""
    adapted: Any
    """`peft` or `tail`."""
    judgement: Judgement | None = None
    rate = 2e-4
    steps = 300
    one_thread = True
    """Whether what is trained is too small to gain by more threads."""

    def __init__(
        self, run: Run, params: LoraParams, examples: Examples, base: tuple[Family, EncoderSource]
    ) -> None:
        """`base` is what `app.families.encoders.locate` found of the base model."""
        self.run, self.params, self.examples = run, params, examples
        self.family, self.source = base
        self.labels = examples.labels
        self.device = torch.device(devices.parse(run.settings.models.device).torch_name)
        self.word = run.spec.base_model or DEFAULT_ENCODER
        self.scale = 1.0
        self.throughput = Throughput(self.device)
        self.first: dict[str, Any] | None = None
        """Of the first pass, once there is a second."""

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, each with an example to train on."""
        check_labels(examples)
        check_taught(examples)
        if isinstance(params, LoraParams) and params.four_bit:
            raise NotTrainableError("Encoders are not trained in 4 bits: leave `four_bit` out.")

    def prepare(self) -> None:
        """Split, load the base, build what is trained."""
        run, params = self.run, self.params
        torch.manual_seed(run.spec.seed)
        self.rng = np.random.default_rng(run.spec.seed)
        self.train, self.validation, self.test = split_items(
            self.examples, params.validation_share, run.spec.seed
        )
        self.y = np.array(targets(self.train, self.labels))
        self.held_y = np.array(targets(self.validation, self.labels), int)
        with deterministic(one_thread=self.one_thread):
            self.build()
        run.log(
            f"{len(self.train)} examples to train on, {len(self.validation)} to choose by, {len(self.test)} to judge "
            f"by; {sum(one.numel() for one in self.trained().values())} numbers are trained"
        )

    def build(self) -> None:
        """Load the base and lay out what is trained."""
        raise NotImplementedError

    def start_linear(self, features: Vectors) -> nn.Linear:
        """A head at the class means of the training examples' features float32[n, d], which may move faster than the
        pretrained layers below it: its weights are kept small and scaled, so that one rate suits both.
        """
        means = np.stack([features[self.y == label].mean(axis=0) for label in range(len(self.labels))])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        linear = nn.Linear(means.shape[1], len(self.labels)).to(self.device)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(means / _HEAD_RATE))
            linear.bias.zero_()
        return linear

    @property
    def linear_scale(self) -> float:
        """Of the logits of such a head."""
        return self.base.temperature * _HEAD_RATE

    def linear_rows(self, linear: nn.Linear) -> tuple[Vectors, Vectors]:
        """rows float32[C, d] and bias float32[C] of its logits."""
        weight, bias = (
            tensor.detach().cpu().numpy() * self.linear_scale for tensor in (linear.weight, linear.bias)
        )
        return weight.astype(np.float32), bias.astype(np.float32)

    def restart(self) -> None:
        """Lay out anew what is trained; the examples that were held out now follow the others in `train`."""
        raise NotImplementedError

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name, in a fixed order."""
        raise NotImplementedError

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        """float[b, C] of rows of the training examples, each shown as one of its changed copies."""
        raise NotImplementedError

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """float32[n, d]: unit features of unchanged images by the encoder as it is now."""
        raise NotImplementedError

    def logits_of(self, features: Vectors) -> NDArray[np.float64]:
        """float64[n, C] of such features."""
        rows, bias, _ = self.head()
        return np.asarray(features @ rows.T + bias, np.float64)

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """rows float32[C, d], bias float32[C] of the logits, and the labels' texts float32[C, d] or None."""
        raise NotImplementedError

    def write(self, folder: Path) -> list[str]:
        """Put the encoder's changed weights into the folder; their files."""
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW."""
        rate, decay = self.params.learning_rate or self.rate, self.params.weight_decay
        return torch.optim.AdamW(self.trained().values(), lr=rate, weight_decay=decay)

    def fit(self) -> None:
        """Warm-up, then a cosine to nothing; ends early, and with the best weights.

        Where a few examples were held out of those that were given, a second pass over all of them then makes as
        many steps as did best in the first, which is what the figures are of.
        """
        self.total = self.params.steps_for(len(self.train)) or self.steps
        if (self.params.warmup_steps or 0) >= self.total:
            self.run.log(self.params.warmup_note(self.total))
        came_from = self.run.restored
        with deterministic(one_thread=self.one_thread):
            first = noted(came_from)
            if not first:
                after = self.total if self.refits else 0
                self.learn(Pass(self.total, after=after), came_from)
                if not self.refits:
                    return
                first = {"figures": self._evaluated(), "scale": self.scale, "made": self.last_step}
                first["said"] = None if self.judgement is None else list(self.judgement.said)
                came_from = None
            elif first.get("said"):  # a checkpoint of an older version has none
                items = self.test or self.validation
                self.judgement = Judgement(self.train, items, first["said"], self._judged_on)
            self.first, self.scale = first, first["scale"]
            steps = first["figures"]["best_step"]
            self._take_all_in()
            self.run.log(f"Training again on all {len(self.train)} examples, for {steps} steps.")
            self.learn(Pass(steps, before=first["made"], note=first), came_from)

    def advance(self, step: int, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """`accumulation` batches, then one move at the rate of this step."""
        params, loss, samples = self.params, 0.0, 0
        self.throughput.begin()
        rate = (params.learning_rate or self.rate) * self._turn(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        for _ in range(params.accumulation):
            count = min(params.batch_size, len(self.train))
            rows = self.rng.choice(len(self.train), count, replace=False)
            truth = torch.from_numpy(self.y[rows]).to(self.device)
            part = torch.nn.functional.cross_entropy(self.batch_logits(rows), truth) / params.accumulation
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
            samples += count
        torch.nn.utils.clip_grad_norm_(list(self.trained().values()), _GRADIENT_NORM)
        optimiser.step()
        return {"loss": loss, "learning_rate": rate, **self.throughput.end(samples)}

    def look(self) -> tuple[float | None, dict[str, float]]:
        """See `Stepped`: by the held-out examples."""
        if not len(self.held_y):
            return None, {}
        logits = self.logits_of(self.features_of(self.validation))
        score, accuracy, loss = looked_at(logits, self.held_y)
        return score, {"validation_accuracy": accuracy, "validation_loss": loss}

    def tolerance(self, best: float) -> float:
        """One standard error of the best accuracy (Breiman et al. 1984, for trees): a few held-out examples cannot
        tell such looks apart, and longer training did better on others (docs/training.md).
        """
        count = len(self.held_y) + 2  # by Laplace's rule, since none would be left where all were right
        right = (max(best, 0.0) * len(self.held_y) + 1) / count
        return math.sqrt(right * (1 - right) / count)

    def current(self) -> Parts:
        return {name: one.detach().cpu().clone() for name, one in self.trained().items()}

    def put(self, parts: Parts) -> None:
        with torch.no_grad():
            for name, one in self.trained().items():
                one.copy_(parts[name])

    def evaluate(self) -> dict[str, Any]:
        """Figures of the classifier on examples that it was not trained on."""
        if self.first is not None:
            return {**self.first["figures"], "trained_again_on": len(self.train)}
        with deterministic(one_thread=self.one_thread):
            return self._evaluated()

    def _evaluated(self) -> dict[str, Any]:
        features = self.features_of(self.validation)
        self.scale = fitted_scale(self.logits_of(features), self.held_y)
        items = self.test or self.validation
        if not items:
            return {"evaluated_on": NOT_JUDGED, "best_step": self.best_step}
        found = self._classifier().predict(self.features_of(items) if self.test else features)
        figures = judged(items, found, self.labels)
        on = self._judged_on
        self.judgement = judgement_of(self.train, items, found, self.labels, on)
        return {**figures, "evaluated_on": on, "best_step": self.best_step}

    def save(self, folder: Path) -> ModelCard:
        """The changed weights, the head, and vision.json."""
        with deterministic(one_thread=self.one_thread):
            note, weights = self._note(), self._head_weights()
        files = [*save_classifier(folder, note, weights), *self.write(folder)]
        return describe_classifier(
            note, files, {"trained_on": len(self.train)}, sum(one.numel() for one in self.trained().values())
        )

    @property
    def _judged_on(self) -> Literal["test", "validation"]:
        return "test" if self.test else "validation"

    @property
    def refits(self) -> bool:
        """Whether a second pass takes in what was held out. Data that brings a split of its own keeps it."""
        return self.params.refit and bool(self.validation) and not self.examples.is_split

    def _take_all_in(self) -> None:
        """Start over, with nothing held out."""
        torch.manual_seed(self.run.spec.seed)
        self.rng = np.random.default_rng([self.run.spec.seed, 1])
        self.train, self.validation = [*self.train, *self.validation], []
        self.y, self.held_y = np.concatenate([self.y, self.held_y]), np.zeros(0, int)
        self.restart()

    def _turn(self, step: int) -> float:
        """The share of the peak rate at this step."""
        warmup = max(math.ceil(self.params.warmup_of(self.total)), 1)
        return min(step / warmup, 0.5 * (1 + math.cos(math.pi * step / self.total)))

    def _head_weights(self) -> Weights:
        rows, bias, texts = self.head()
        exemplars, owners = few_exemplars(self.features_of(self.train), self.y)
        scale = np.float32(self.scale)
        return Weights(exemplars, owners.astype(np.int64), texts, (), rows * scale, bias * scale)

    def _classifier(self) -> TrainedClassifier:
        return TrainedClassifier(self._note(), self._head_weights())

    def _note(self) -> ClassifierNote:
        return note_classifier(self.run.spec, self.family.name, self.base, self.labels, self.adapted)
