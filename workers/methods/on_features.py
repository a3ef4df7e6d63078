"""What methods share that learn a small network on an encoder's features: data, checkpoints, judging, saving.

Knows the order of the steps and how a network and its class means become a classifier; what the network learns from
is each method's own.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from app.errors import NotTrainableError
from app.inference import device as devices
from app.inference.protocols import Vectors
from app.recognition.heads import Prediction
from app.recognition.trained import ClassifierNote, TrainedClassifier, Weights, few_exemplars, save_classifier
from app.training.augmentation import OFF, AugmentationSettings
from app.training.params import Params
from app.training.spec import ModelCard
from workers.evaluation import metrics
from workers.examples import Examples, Item
from workers.methods.base import Run
from workers.methods.features import Features, remember
from workers.methods.splits import split_items, targets

COPIES = 4
"""Changed copies of each example whose features are learned from, beside the example's own."""
_STATE = "state.pt"
_SCALES = (1e-1, 1e3)


class FeatureMethod:
    """See `workers.methods.base.TrainingMethod`; a method implements `build`, `loss` and says its name."""

    name: ClassVar[str]
    least_examples: ClassVar[int] = 2
    """Of each label."""

    def __init__(self, run: Run, params: Any, examples: Examples) -> None:
        self.run, self.params, self.examples = run, params, examples
        self.labels = examples.labels
        self.device = torch.device(devices.parse(run.settings.device).torch_name)

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, with two examples each where some are held out or compared."""
        if examples.task != "classification":
            raise NotTrainableError("This method learns labels: these examples have none.")
        if len(examples.labels) < 2:
            raise NotTrainableError("Training needs at least two labels.")
        few = sorted(label for label, count in examples.counts.items() if count < cls.least_examples)
        if few:
            raise NotTrainableError(
                f"The method needs at least {cls.least_examples} examples a label; '{few[0]}' has "
                f"{examples.counts[few[0]]}."
            )

    def prepare(self) -> None:
        """Split, compute features, build the network, and go on from a checkpoint where there is one."""
        run, params = self.run, self.params
        torch.manual_seed(run.spec.seed)
        self.rng = np.random.default_rng(run.spec.seed)
        self.features = Features(run, self.examples)
        self.encoder = self.features.encoder
        self.train, self.validation, self.test = split_items(
            self.examples, params.validation_share, run.spec.seed
        )
        copies, settings = (COPIES, AugmentationSettings(flip=params.flip)) if params.augment else (0, OFF)
        self.x = self.features.of(self.train, copies, settings, name="train")
        self.held = self.features.of(self.validation, 0, OFF, name="validation")[:, 0]
        self.y = np.array(targets(self.train, self.labels))
        self.held_y = np.array(targets(self.validation, self.labels))
        self.net = self.build().to(self.device)
        self.best, self.best_score, self.best_step = copy.deepcopy(self.net.state_dict()), -np.inf, 0
        run.log(
            f"{len(self.train)} examples to train on, {copies} changed copies of each, {len(self.validation)} to "
            f"choose by, {len(self.test)} to judge by"
        )

    def build(self) -> nn.Module:
        """The network: float[n, d] to float[n, k], unit rows."""
        return Projection(self.encoder.dim, min(self.params.dim, self.encoder.dim))

    def loss(self, step: int) -> torch.Tensor:
        """Of one step, with gradients towards `self.net`."""
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the network."""
        return torch.optim.AdamW(self.net.parameters(), lr=self.params.learning_rate, weight_decay=1e-4)

    def fit(self) -> None:
        """Steps with looks at the held-out examples; ends early, and with the best network."""
        run, params = self.run, self.params
        optimiser = self.optimiser()
        start, waited = self._restored(optimiser)
        for step in range(start + 1, params.steps + 1):
            self.net.train()
            optimiser.zero_grad()
            loss = self.loss(step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            seen: dict[str, float] = {"loss": float(loss.detach())}
            if step % params.evaluate_every == 0 or step == params.steps:
                score, figures = self._score()
                seen |= figures
                waited = 0 if score > self.best_score else waited + 1
                if score > self.best_score:
                    self.best, self.best_score, self.best_step = (
                        copy.deepcopy(self.net.state_dict()),
                        score,
                        step,
                    )
            run.step(step, params.steps, **seen)
            if run.checkpoint_due(step, params.checkpoint_every):
                run.checkpoint(step, lambda folder, at=step, w=waited: self._keep(folder, optimiser, at, w))  # type: ignore[misc]
                run.stop_if_asked()
            if params.patience and waited > params.patience:
                run.log(f"No better for {waited} looks: stopping after step {step}.")
                break
        self.net.load_state_dict(self.best)

    def evaluate(self) -> dict[str, Any]:
        """Figures of the classifier that only saw the training examples, on examples it has not seen."""
        items = self.test or self.validation
        if not items:
            return {"evaluated_on": "nothing: no examples were held out", "best_step": self.best_step}
        features = self.features.of(self.test, 0, OFF, name="test")[:, 0] if self.test else self.held
        found = self._judged(items, features, self.classifier(self.x, self.y).predict(features))
        return {**found, "best_step": self.best_step}

    def save(self, folder: Path) -> ModelCard:
        """The network with class means over all examples, held-out ones included."""
        x = np.concatenate([self.x[:, 0], self.held])
        y = np.concatenate([self.y, self.held_y])
        weights = self.weights(x[:, None], y)
        note = self.note()
        files = save_classifier(folder, note, weights)
        trained = sum(one.numel() for one in self.net.parameters())
        return ModelCard(
            id="",
            kind="classifier",
            family=self.encoder.family,
            task="classification",
            method=self.name,
            base_model=note.base_model,
            base_fingerprint=note.base_fingerprint,
            labels=self.labels,
            files=files,
            data={"trained_on": len(self.train), "refitted_on": len(y)},
            parameters=trained,
        )

    def note(self) -> ClassifierNote:
        """What vision.json says."""
        return ClassifierNote(
            method=self.name,
            family=self.encoder.family,
            base_model=self.run.spec.base_model or "lite",
            base_fingerprint=self.encoder.fingerprint,
            labels=self.labels,
            dim=self.encoder.dim,
            temperature=float(self.encoder.temperature),
        )

    def weights(self, x: Vectors, y: np.ndarray[Any, Any]) -> Weights:
        """Class means in the network's space as a linear layer: -s|z - c|² is 2s z·c - s|c|² plus what all share."""
        z = self.embedded(x)
        means = np.stack(
            [z[y == label].reshape(-1, z.shape[-1]).mean(axis=0) for label in range(len(self.labels))]
        )
        scale = self._scale()
        exemplars, owners = few_exemplars(x[:, 0], y)
        layer = self.net.layer if isinstance(self.net, Projection) else None
        layers = () if layer is None else ((_array(layer.weight), _array(layer.bias)),)
        rows = (2 * scale * means).astype(np.float32)
        bias = (-scale * (means**2).sum(axis=1)).astype(np.float32)
        return Weights(exemplars, owners, None, layers, rows, bias)

    def classifier(self, x: Vectors, y: np.ndarray[Any, Any]) -> TrainedClassifier:
        """As it would be served, had it seen only these."""
        return TrainedClassifier(self.note(), self.weights(x, y))

    def embedded(self, x: Vectors) -> Vectors:
        """float32[..., d] through the network: float32[..., k]."""
        self.net.eval()
        with torch.no_grad():
            z = self.net(torch.from_numpy(x.reshape(-1, x.shape[-1])).to(self.device))
        found: Vectors = z.cpu().numpy().reshape(*x.shape[:-1], -1)
        return found

    def _score(self) -> tuple[float, dict[str, float]]:
        """Better is larger: held-out accuracy, ties broken by the log loss; without held-out examples by leaving
        one out.
        """
        distances, y = self._held_distances()
        scale = _fitted_scale(distances, y)
        log_odds = _log_softmax(-scale * distances)
        loss = -float(log_odds[np.arange(len(y)), y].mean())
        accuracy = float((distances.argmin(axis=1) == y).mean())
        name = "validation" if len(self.held_y) else "leave_one_out"
        return accuracy - 1e-2 * loss, {f"{name}_accuracy": accuracy, f"{name}_loss": loss}

    def _scale(self) -> float:
        return _fitted_scale(*self._held_distances())

    def _held_distances(self) -> tuple[Vectors, np.ndarray[Any, Any]]:
        """float[m, C]: squared distances of held-out examples to the class means of the others."""
        z = self.embedded(self.x)
        flat = z.mean(axis=1)
        sums = np.stack([flat[self.y == label].sum(axis=0) for label in range(len(self.labels))])
        counts = np.bincount(self.y, minlength=len(self.labels)).astype(np.float32)
        if len(self.held_y):
            means = sums / counts[:, None]
            held = self.embedded(self.held)
            return ((held[:, None] - means[None]) ** 2).sum(axis=-1), self.held_y
        rows = np.flatnonzero(counts[self.y] > 1)
        own = z[rows, 0]
        distances = np.empty((len(rows), len(self.labels)), np.float32)
        for place, row in enumerate(rows):
            left, fewer = sums.copy(), counts.copy()
            left[self.y[row]] -= flat[row]
            fewer[self.y[row]] -= 1
            distances[place] = ((own[place] - left / fewer[:, None]) ** 2).sum(axis=-1)
        return distances, self.y[rows]

    def _judged(self, items: Sequence[Item], features: Vectors, found: Prediction) -> dict[str, Any]:
        known = found.scores / np.maximum(found.scores.sum(axis=1, keepdims=True), 1e-12)
        truth = [one.label or "" for one in items]
        figures = metrics.classification(truth, known, self.labels, none=found.none)
        return {**figures, "evaluated_on": "test" if self.test else "validation"}

    def _keep(self, folder: Path, optimiser: torch.optim.Optimizer, step: int, waited: int) -> None:
        remember(folder, {"train": self.x, "validation": self.held[:, None]})
        torch.save(
            {
                "net": self.net.state_dict(),
                "best": self.best,
                "best_score": float(self.best_score),
                "best_step": self.best_step,
                "optimiser": optimiser.state_dict(),
                "torch_rng": torch.get_rng_state(),
                "numpy_rng": repr(self.rng.bit_generator.state),
                "step": step,
                "waited": waited,
            },
            folder / _STATE,
        )

    def _restored(self, optimiser: torch.optim.Optimizer) -> tuple[int, int]:
        """Take everything up again that decides the next step; the step and how long it got no better."""
        if self.run.restored is None:
            return 0, 0
        state = torch.load(self.run.restored / _STATE, weights_only=True, map_location=self.device)
        self.net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        self.best, self.best_score, self.best_step = state["best"], state["best_score"], state["best_step"]
        torch.set_rng_state(state["torch_rng"].cpu())
        self.rng.bit_generator.state = ast.literal_eval(state["numpy_rng"])
        return int(state["step"]), int(state["waited"])


class Projection(nn.Module):
    """A linear map to unit vectors; starts as a random rotation, which keeps the features' distances."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, out)
        nn.init.orthogonal_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.layer(x), dim=-1)


def _fitted_scale(distances: Vectors, y: np.ndarray[Any, Any]) -> float:
    """s of softmax(-s d²) with the least log loss on these examples, drawn towards 10 as by two more examples."""
    if not len(y):
        return 10.0

    def cost(log_scale: float) -> float:
        log_odds = _log_softmax(-float(np.exp(log_scale)) * distances)
        return float(-log_odds[np.arange(len(y)), y].sum() + 2.0 * (log_scale - np.log(10.0)) ** 2)

    found = minimize_scalar(cost, bounds=tuple(np.log(_SCALES)), method="bounded")
    return float(np.exp(found.x))


def _log_softmax(logits: Vectors) -> Vectors:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Vectors = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _array(tensor: torch.Tensor) -> Vectors:
    found: Vectors = tensor.detach().cpu().float().numpy()
    return found
