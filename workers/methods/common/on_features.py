"""What methods share that learn a small network on an encoder's features: data, looks, judging, saving.

End to end, the network begins with the encoder's last stages.
"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from app.inference import device as devices
from app.inference.protocols import Vectors
from app.jobs.errors import NotTrainableError
from app.jobs.spec import ModelCard
from app.media.augmentation import OFF
from app.methods.params import Params
from app.methods.tasks import MIN_A_LABEL_TO_HOLD_OUT
from app.models.classifiers import (
    Adapted,
    ClassifierNote,
    TrainedClassifier,
    Weights,
    save_classifier,
    select_exemplars,
)
from workers.methods.common.calibrating import (
    fit_scale,
    judge_classifier,
    judgement_of,
    log_softmax,
    score_logits,
)
from workers.methods.common.classifiers import check_labels, describe_classifier, note_classifier
from workers.methods.common.features import Activations, Features, remember
from workers.methods.common.looping import Parts, Pass, StepLoop
from workers.methods.common.projecting import Projection, array, squared
from workers.methods.common.reproducible import deterministic
from workers.methods.common.splits import check_training_labels, split_leaving, targets
from workers.shared import metrics
from workers.shared.examples import Examples
from workers.shared.method import Judgement, Run
from workers.shared.metrics import NOT_JUDGED
from workers.shared.throughput import Throughput

COPIES = 4
"""Changed copies of each example whose features are learned from, beside the example's own."""
_BATCH = 64
_TAIL_RATE = 0.2
"""Pretrained stages move more slowly than what is new."""


class FeatureMethod(StepLoop):
    """See `workers.shared.method.TrainingMethod`; a method implements `build` and `loss`."""

    default_scale: ClassVar[float] = 10.0
    """Of logits, where there is little to fit it on."""
    judgement: Judgement | None = None

    def __init__(self, run: Run, params: Any, examples: Examples) -> None:
        self.run, self.params, self.examples = run, params, examples
        self.labels = examples.labels
        self.seen = 0
        """Examples that the step at hand has drawn."""
        self.device = torch.device(devices.parse(run.settings.models.device).torch_name)
        self.throughput = Throughput(self.device)

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, with two examples each where examples of a label are compared."""
        check_labels(examples)
        check_training_labels(examples)
        learned = Counter(item.label for item in examples.items if item.split in (None, "train"))
        least = params.min_examples_per_label
        few = [label for label in examples.labels if learned[label] < least]
        if few:
            raise NotTrainableError(
                f"The method needs at least {least} examples a label to learn from; '{few[0]}' has "
                f"{learned[few[0]]}."
            )

    def prepare(self) -> None:
        """Split, compute features, build the network, and go on from a checkpoint where there is one."""
        run, params = self.run, self.params
        torch.manual_seed(run.spec.seed)
        self.rng = np.random.default_rng(run.spec.seed)
        self.end_to_end = bool(getattr(params, "end_to_end", False))
        self.features = Activations(run, self.examples) if self.end_to_end else Features(run, self.examples)
        self.encoder = self.features.encoder
        self.train, self.validation, self.test = split_leaving(
            self.examples, params.validation_share, run.spec.seed, least=params.min_examples_per_label
        )
        copies = self.copies() if params.augment else 0
        self.features.expect(len(self.train) + len(self.validation))
        self.x = self.features.of(self.train, copies, params.changes(), name="train")
        self.validation_x = self.features.of(self.validation, 0, OFF, name="validation")[:, 0]
        self.y = np.array(targets(self.train, self.labels))
        self.validation_y = np.array(targets(self.validation, self.labels), np.int64)
        self.net = self.build().to(self.device)
        self.best_step = 0
        run.log(
            f"{len(self.train)} examples to train on, {copies} changed copies of each, {len(self.validation)} to "
            f"choose by, {len(self.test)} to judge by"
        )

    def copies(self) -> int:
        """Changed copies of each example to learn from, where augmentation is on."""
        return COPIES

    def build(self) -> nn.Module:
        """The network: float[n, d] (or activations) to float[n, k], unit rows."""
        tail = self.features.cut.build_tail() if isinstance(self.features, Activations) else None
        return Projection(self.encoder.dim, min(self.params.dim, self.encoder.dim), tail)

    def loss(self, step: int) -> torch.Tensor:
        """Of one step, with gradients towards `self.net`."""
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the network."""
        rate = self.params.learning_rate
        tail = [
            parameter
            for name, parameter in self.net.named_parameters()
            if name.startswith("tail.") and parameter.requires_grad
        ]
        rest = [parameter for name, parameter in self.net.named_parameters() if not name.startswith("tail.")]
        groups = [{"params": rest, "lr": rate}]
        if tail:
            groups.append({"params": tail, "lr": rate * _TAIL_RATE})
        return torch.optim.AdamW(groups, weight_decay=1e-4)

    def draw_views(self, rows: np.ndarray[Any, Any]) -> torch.Tensor:
        """Of each of these training examples (int64 of any shape) one copy, drawn anew: float[*rows.shape, ...]."""
        self.seen += rows.size
        chosen = self.x[rows, self.rng.integers(0, self.x.shape[1], rows.shape)]
        return torch.from_numpy(chosen.astype(np.float32)).to(self.device)

    def fit(self) -> None:
        """Ends early, and with the best network."""
        with deterministic():
            self.learn(Pass(self.params.steps), self.run.restored)

    def advance(self, step: int, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """One step down the method's loss."""
        self.net.train()
        optimiser.zero_grad()
        self.throughput.begin()
        self.seen = 0
        loss = self.loss(step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {"loss": float(loss.detach()), **self.throughput.end(self.seen)}

    def look(self) -> tuple[float | None, dict[str, float]]:
        """See `StepLoop`: by what `chosen_by` names."""
        score, accuracy, loss = score_logits(*self.validation_logits(), self.default_scale)
        return score, {f"{self.chosen_by}_accuracy": accuracy, f"{self.chosen_by}_loss": loss}

    def current(self) -> Parts:
        return copy.deepcopy(self.net.state_dict())

    def put(self, parts: Parts) -> None:
        self.net.load_state_dict(parts)

    def remember(self, folder: Path) -> None:
        """The features, which took the longest."""
        remember(folder, {"train": self.x, "validation": self.validation_x[:, None]})

    def evaluate(self) -> dict[str, Any]:
        """Figures of the classifier that only saw the training examples, on examples it has not seen."""
        chosen = {"best_step": self.best_step, "chosen_by": self.chosen_by}
        items = self.test or self.validation
        if not items:
            few = np.bincount(self.y, minlength=len(self.labels)).min() < MIN_A_LABEL_TO_HOLD_OUT
            return {**({"evaluated_on": NOT_JUDGED} if few else self._without_held_out()), **chosen}
        x = self.features.of(self.test, 0, OFF, name="test")[:, 0] if self.test else self.validation_x
        found = self.classifier(self.x, self.y).predict(self.encode(x))
        on: Literal["test", "validation"] = "test" if self.test else "validation"
        self.judgement = judgement_of(self.train, items, found, self.labels, on)
        return {**judge_classifier(items, found, self.labels), "evaluated_on": on, **chosen}

    def save(self, folder: Path) -> ModelCard:
        """The network with class means over all examples, held-out ones included."""
        x = np.concatenate([self.x[:, 0], self.validation_x])
        y = np.concatenate([self.y, self.validation_y])
        weights = self.weights(x[:, None], y)
        note = self.note(y)
        files = save_classifier(folder, note, weights)
        if isinstance(self.features, Activations) and isinstance(self.net, Projection) and self.net.tail:
            files.append(self.features.cut.write_tail(self.net.tail, folder))
        trained = sum(parameter.numel() for parameter in self.net.parameters() if parameter.requires_grad)
        return describe_classifier(
            note, files, {"trained_on": len(self.train), "refitted_on": len(y)}, trained
        )

    def note(self, y: np.ndarray[Any, Any]) -> ClassifierNote:
        """What vision.json says of a classifier that saw examples of labels `y` int64[n]."""
        adapted: Adapted | None = "tail" if self.end_to_end else None
        return note_classifier(self.run.spec, self.encoder.family, self.encoder, self.labels, adapted)

    def weights(self, x: Vectors, y: np.ndarray[Any, Any]) -> Weights:
        """Class means in the network's space as a linear layer: -s|z - c|² is 2s z·c - s|c|² plus what all share."""
        z = self.embed(x)
        means = np.stack(
            [z[y == label].reshape(-1, z.shape[-1]).mean(axis=0) for label in range(len(self.labels))]
        )
        scale = self.scale()
        rows = (2 * scale * means).astype(np.float32)
        bias = (-scale * (means**2).sum(axis=1)).astype(np.float32)
        return Weights(*select_exemplars(self.encode(x[:, 0]), y), None, self.layers(), rows, bias)

    def layers(self) -> tuple[tuple[Vectors, Vectors], ...]:
        """The projection as the classifier takes it."""
        return ((array(self.net.layer.weight), array(self.net.layer.bias)),)  # type: ignore[union-attr,arg-type]

    def classifier(self, x: Vectors, y: np.ndarray[Any, Any]) -> TrainedClassifier:
        """As it would be served, had it seen only these."""
        return TrainedClassifier(self.note(y), self.weights(x, y))

    def embed(self, x: Vectors) -> Vectors:
        """What was computed of images, float32[..., d] or activations, through the network: float32[..., k]."""
        return self._through(self.net, x)

    def encode(self, x: Vectors) -> Vectors:
        """The features float32[..., d] that the trained encoder gives for the images."""
        tail = self.net.tail if isinstance(self.net, Projection) else None
        return x if tail is None else self._through(tail, x)

    def validation_logits(self) -> tuple[Vectors, np.ndarray[Any, Any]]:
        """float[m, C] for examples that were not learned from, and their labels int64[m]; see `chosen_by`."""
        z = self.embed(self.x)
        flat = z.mean(axis=1)
        sums: Vectors = np.stack([flat[self.y == label].sum(axis=0) for label in range(len(self.labels))])
        counts = np.bincount(self.y, minlength=len(self.labels)).astype(np.float32)
        means = np.asarray(sums / counts[:, None], np.float32)
        if len(self.validation_y):
            return -squared(self.embed(self.validation_x), means), self.validation_y
        if self.chosen_by != "leave_one_out":
            views = z[:, 1:] if z.shape[1] > 1 else z
            return -squared(views.reshape(-1, z.shape[-1]), means), np.repeat(self.y, views.shape[1])
        rows = np.flatnonzero(counts[self.y] > 1)
        distances = np.empty((len(rows), len(self.labels)), np.float32)
        for place, row in enumerate(rows):
            left = means.copy()
            left[self.y[row]] = (sums[self.y[row]] - flat[row]) / (counts[self.y[row]] - 1)
            distances[place] = squared(z[row, :1], left)[0]
        return -distances, self.y[rows]

    @property
    def chosen_by(self) -> str:
        """What the best step is chosen by, and what is stated where nothing was held out."""
        if len(self.validation_y):
            return "validation"
        if (np.bincount(self.y) > 1).any():
            return "leave_one_out"
        return "augmented_copies" if self.x.shape[1] > 1 else "train"

    def scale(self) -> float:
        """The factor on logits that calibrates them."""
        return fit_scale(*self.validation_logits(), self.default_scale)

    def _without_held_out(self) -> dict[str, Any]:
        logits, y = self.validation_logits()
        shares = np.exp(log_softmax(self.scale() * logits)).astype(np.float32)
        figures = metrics.classification([self.labels[index] for index in y], shares, self.labels)
        return {**figures, "evaluated_on": self.chosen_by}

    def _through(self, module: nn.Module, x: Vectors) -> Vectors:
        inner = self.x.shape[2:]
        lead = x.shape[: x.ndim - len(inner)]
        flat = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, *inner)))
        module.eval()
        with deterministic(), torch.no_grad():
            parts = [module(part.float().to(self.device)).cpu() for part in torch.split(flat, _BATCH)]
        found: Vectors = torch.cat(parts).numpy() if parts else np.empty((0, self.encoder.dim), np.float32)
        return found.reshape(*lead, -1) if parts else found
