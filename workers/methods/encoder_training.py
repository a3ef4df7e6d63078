"""What training an encoder's own weights on labels shares, whichever weights they are.

Knows the order: batches, a softmax over labels, looks at held-out examples, checkpoints, the best weights at the end.
Knows nothing of towers, adapters or how a network turns images into logits.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.errors import NotTrainableError
from app.inference import device as devices
from app.inference.protocols import Vectors
from app.recognition.trained import ClassifierNote, TrainedClassifier, Weights, few_exemplars, save_classifier
from app.training.params import LoraParams, Params
from app.training.spec import ModelCard
from workers.evaluation import metrics
from workers.examples import Examples, Item
from workers.methods.base import Run
from workers.methods.reproducible import deterministic
from workers.methods.splits import split_items, targets

_STATE = "state.pt"
_GRADIENT_NORM = 1.0


class EncoderTraining:
    """See `workers.methods.base.TrainingMethod`; a subclass says what is trained and what a batch's logits are."""

    adapted: Any
    """`peft` or `tail`."""
    rate = 2e-4
    steps = 300
    one_thread = True
    """Whether what is trained is too small to gain by more threads."""

    def __init__(self, run: Run, params: LoraParams, examples: Examples) -> None:
        self.run, self.params, self.examples = run, params, examples
        self.labels = examples.labels
        self.device = torch.device(devices.parse(run.settings.device).torch_name)
        self.word = run.spec.base_model or "lite"
        self.scale = 1.0

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, with two examples each where some are held out."""
        if examples.task != "classification":
            raise NotTrainableError("An encoder learns labels: these examples have none.")
        if len(examples.labels) < 2:
            raise NotTrainableError("Training needs at least two labels.")
        least = 2 if params.validation_share and not examples.is_split else 1
        few = sorted(label for label, count in examples.counts.items() if count < least)
        if few:
            raise NotTrainableError(f"Holding examples out needs {least} a label; '{few[0]}' has fewer.")
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
        raise NotImplementedError

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """rows float32[C, d], bias float32[C] of the logits, and the labels' texts float32[C, d] or None."""
        raise NotImplementedError

    def write(self, folder: Path) -> list[str]:
        """Put the encoder's changed weights into the folder; their files."""
        raise NotImplementedError

    def facts(self) -> tuple[str, str, int, float]:
        """Family, fingerprint, dimension and temperature of the base."""
        raise NotImplementedError

    def fit(self) -> None:
        """AdamW, warm-up, then a cosine to nothing; ends early, and with the best weights."""
        with deterministic(one_thread=self.one_thread):
            self._fit()
        self._put(self.best)

    def _fit(self) -> None:
        run, params = self.run, self.params
        parameters = self.trained()
        rate = params.learning_rate or self.rate
        steps = params.steps or self.steps
        optimiser = torch.optim.AdamW(parameters.values(), lr=rate, weight_decay=params.weight_decay)
        warmup = max(math.ceil(steps * params.warmup_share), 1)
        self.best, self.best_score, self.best_step = self._weights(), -math.inf, 0
        start, waited = self._restored(optimiser)
        if start == 0:
            self.best_score = self._score()[0]  # what it starts from may be hard to beat
        for step in range(start + 1, steps + 1):
            turn = min(step / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))
            for group in optimiser.param_groups:
                group["lr"] = rate * turn
            seen = {"loss": self._step(optimiser), "learning_rate": rate * turn}
            if step % params.evaluate_every == 0 or step == steps:
                score, figures = self._score()
                seen |= figures
                better = score > self.best_score or not len(
                    self.held_y
                )  # nothing to choose by: keep the last
                waited = 0 if better else waited + 1
                if better:
                    self.best, self.best_score, self.best_step = self._weights(), score, step
            run.step(step, steps, **seen)
            if run.checkpoint_due(step, params.checkpoint_every):
                run.checkpoint(step, lambda folder, at=step, w=waited: self._keep(folder, optimiser, at, w))  # type: ignore[misc]
                run.stop_if_asked()
            if params.patience and waited > params.patience:
                run.log(f"No better for {waited} looks: stopping after step {step}.")
                break

    def evaluate(self) -> dict[str, Any]:
        """Figures of the served classifier on examples that were not trained on."""
        with deterministic(one_thread=self.one_thread):
            return self._evaluated()

    def _evaluated(self) -> dict[str, Any]:
        features = self.features_of(self.validation)
        self.scale = fitted_scale(self.logits_of(features), self.held_y)
        items = self.test or self.validation
        if not items:
            return {"evaluated_on": "nothing: no examples were held out", "best_step": self.best_step}
        found = self._classifier().predict(self.features_of(items) if self.test else features)
        known = found.scores / np.maximum(found.scores.sum(axis=1, keepdims=True), 1e-12)
        figures = metrics.classification(
            [one.label or "" for one in items], known, self.labels, none=found.none
        )
        return {**figures, "evaluated_on": "test" if self.test else "validation", "best_step": self.best_step}

    def save(self, folder: Path) -> ModelCard:
        """The changed weights, the head, and vision.json."""
        with deterministic(one_thread=self.one_thread):
            note, weights = self._note(), self._head_weights()
        files = [*save_classifier(folder, note, weights), *self.write(folder)]
        return ModelCard(
            id="",
            kind="classifier",
            family=note.family,
            task="classification",
            method="lora",
            base_model=self.word,
            base_fingerprint=note.base_fingerprint,
            labels=self.labels,
            files=files,
            data={"trained_on": len(self.train)},
            parameters=sum(one.numel() for one in self.trained().values()),
        )

    def _step(self, optimiser: torch.optim.Optimizer) -> float:
        params = self.params
        total = 0.0
        optimiser.zero_grad()
        for _ in range(params.accumulation):
            count = min(params.batch_size, len(self.train))
            rows = self.rng.choice(len(self.train), count, replace=False)
            truth = torch.from_numpy(self.y[rows]).to(self.device)
            loss = torch.nn.functional.cross_entropy(self.batch_logits(rows), truth) / params.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(list(self.trained().values()), _GRADIENT_NORM)
        optimiser.step()
        return total

    def _score(self) -> tuple[float, dict[str, float]]:
        """Better is larger: accuracy on held-out examples, ties broken by the log loss; 0 without any."""
        if not len(self.held_y):
            return 0.0, {}
        logits = self.logits_of(self.features_of(self.validation))
        log_odds = _log_softmax(fitted_scale(logits, self.held_y) * logits)
        loss = -float(log_odds[np.arange(len(self.held_y)), self.held_y].mean())
        accuracy = float((logits.argmax(axis=1) == self.held_y).mean())
        return accuracy - 1e-2 * loss, {"validation_accuracy": accuracy, "validation_loss": loss}

    def _head_weights(self) -> Weights:
        rows, bias, texts = self.head()
        exemplars, owners = few_exemplars(self.features_of(self.train), self.y)
        scale = np.float32(self.scale)
        return Weights(exemplars, owners.astype(np.int64), texts, (), rows * scale, bias * scale)

    def _classifier(self) -> TrainedClassifier:
        return TrainedClassifier(self._note(), self._head_weights())

    def _note(self) -> ClassifierNote:
        family, fingerprint, dim, temperature = self.facts()
        return ClassifierNote(
            method="lora",
            family=family,
            base_model=self.word,
            base_fingerprint=fingerprint,
            labels=self.labels,
            adapted=self.adapted,
            dim=dim,
            temperature=temperature,
        )

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: one.detach().cpu().clone() for name, one in self.trained().items()}

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, one in self.trained().items():
                one.copy_(weights[name])

    def _keep(self, folder: Path, optimiser: torch.optim.Optimizer, step: int, waited: int) -> None:
        state = {
            "weights": self._weights(),
            "best": self.best,
            "best_score": float(self.best_score),
            "best_step": self.best_step,
            "optimiser": optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": repr(self.rng.bit_generator.state),
            "step": step,
            "waited": waited,
        }
        torch.save(state, folder / _STATE)

    def _restored(self, optimiser: torch.optim.Optimizer) -> tuple[int, int]:
        """Take everything up again that decides the next step; the step and how long it got no better."""
        if self.run.restored is None:
            return 0, 0
        state = torch.load(self.run.restored / _STATE, weights_only=True, map_location="cpu")
        self._put(state["weights"])
        optimiser.load_state_dict(state["optimiser"])
        self.best, self.best_score, self.best_step = state["best"], state["best_score"], state["best_step"]
        torch.set_rng_state(state["torch_rng"])
        self.rng.bit_generator.state = ast.literal_eval(state["numpy_rng"])
        return int(state["step"]), int(state["waited"])


def fitted_scale(logits: NDArray[np.float64], y: NDArray[Any]) -> float:
    """The factor on logits with the least log loss on these examples (temperature scaling, Guo et al. 2017, section
    4.2), drawn towards 1 as by two more examples.
    """
    if not len(y):
        return 1.0

    def cost(log_scale: float) -> float:
        log_odds = _log_softmax(float(np.exp(log_scale)) * logits)
        return float(-log_odds[np.arange(len(y)), y].sum() + 2.0 * log_scale**2)

    return float(np.exp(minimize_scalar(cost, bounds=(-3.0, 3.0), method="bounded").x))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
