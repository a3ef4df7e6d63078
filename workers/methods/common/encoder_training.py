"""What training an encoder's own weights on labels shares, whichever weights they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.families import DEFAULT_ENCODER
from app.heads import Head
from app.heads.priors import Priors, named_priors
from app.inference import device as devices
from app.inference.family import Family
from app.inference.protocols import Vectors
from app.inference.sources import EncoderSource
from app.jobs.errors import NotTrainableError
from app.methods.lora import LoraParams
from app.methods.params import ENCODER_PATIENCE, Params
from workers.methods.common.calibrating import fit_scale, log_softmax
from workers.methods.common.choosing import Losses
from workers.methods.common.classifiers import check_labels
from workers.methods.common.looping import Parts, Pass, read_note
from workers.methods.common.publishing import Publishing
from workers.methods.common.reproducible import deterministic
from workers.methods.common.splits import check_training_labels, split_items, targets
from workers.methods.common.starting import distil_head
from workers.shared.examples import Examples
from workers.shared.method import Judgement, Run
from workers.shared.throughput import Throughput

_GRADIENT_NORM = 1.0
HEAD_RATE = 10.0
"""How much faster a linear layer moves than what lies below it."""


class EncoderTraining(Publishing):
    """See `workers.shared.method.TrainingMethod`; a subclass says what is trained and what a batch's logits are."""

    params: LoraParams
    loss_error = 0.0
    """Standard error of the held-out loss at the last look."""
    rate = 2e-4
    steps = 300
    usual_patience = ENCODER_PATIENCE
    weights: torch.Tensor | None = None
    """float32[C]: of each label's examples in the loss; None: all count the same."""
    learns_again = True
    """Whether a trained classifier makes a second pass over all examples, where `refit` asks for them."""

    def __init__(
        self, run: Run, params: LoraParams, examples: Examples, base: tuple[Family, EncoderSource]
    ) -> None:
        """`base` is what `app.families.encoders.locate` found of the base model."""
        self.run, self.params, self.examples = run, params, examples
        self.family, self.source = base
        self.labels = examples.labels
        self.device = torch.device(devices.parse(run.settings.models.device).torch_name)
        self.word = run.spec.base_model or DEFAULT_ENCODER
        self.throughput = Throughput(self.device)
        self.beside = {}

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """At least two labels, each with an example to train on."""
        check_labels(examples)
        check_training_labels(examples)
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
        self.validation_y = np.array(targets(self.validation, self.labels), int)
        self.learned_from = len(self.train)
        with deterministic(one_thread=self.one_thread):
            self.build()
        run.log(
            f"{len(self.train)} examples to train on, {len(self.validation)} to choose by, {len(self.test)} to judge "
            f"by; {sum(parameter.numel() for parameter in self.trained_parameters().values())} numbers are trained"
        )

    def build(self) -> None:
        """Load the base and lay out what is trained."""
        raise NotImplementedError

    @property
    def priors(self) -> Priors:
        """Of heads over the base."""
        base = self.base
        return named_priors(self.source.name, base.fingerprint, base.temperature, base.dim)

    def start_linear(self, head: Head, shown: Vectors) -> nn.Linear:
        """A closed-form head as a linear layer, which may move faster than the pretrained layers below it: its weights
        are kept small and scaled, so that one rate suits both.

        `shown` float32[m, d] are features to set it by, of the examples and perhaps of changed copies.
        """
        rows, bias = distil_head(head, shown)
        linear = nn.Linear(rows.shape[1], len(rows)).to(self.device)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(rows / self.linear_scale))
            linear.bias.copy_(torch.from_numpy(bias / self.linear_scale))
        return linear

    @property
    def linear_scale(self) -> float:
        """Of the logits of such a head."""
        return self.base.temperature * HEAD_RATE

    def linear_rows(self, linear: nn.Linear) -> tuple[Vectors, Vectors]:
        """rows float32[C, d] and bias float32[C] of its logits."""
        weight, bias = (
            tensor.detach().cpu().numpy() * self.linear_scale for tensor in (linear.weight, linear.bias)
        )
        return weight.astype(np.float32), bias.astype(np.float32)

    def restart(self) -> None:
        """Lay out anew what is trained; the examples that were held out now follow the others in `train`."""
        raise NotImplementedError

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        """float[b, C] of rows of the training examples, each shown as one of its changed copies."""
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW."""
        rate, decay = self.params.learning_rate or self.rate, self.params.weight_decay
        return torch.optim.AdamW(self.trained_parameters().values(), lr=rate, weight_decay=decay)

    def fit(self) -> None:
        """Warm-up, then a cosine to nothing; ends early, and with the best weights. Then what was held out chooses what
        is published.

        A closed-form head is at last fitted on all examples, those too that were held out. A trained classifier makes,
        where `learns_again`, a second pass over all of them of as many steps as did best in the first, which is what
        the figures are of.
        """
        self.total = self.params.steps_for(len(self.train)) or self.steps
        if (self.params.warmup_steps or 0) >= self.total:
            self.run.log(self.params.warmup_note(self.total))
        came_from = self.run.restored
        with deterministic(one_thread=self.one_thread):
            first = read_note(came_from)
            if first:
                self._go_on(first)
            else:
                after = self.total if self.refits and self.learns_again else 0
                self.learn(Pass(self.total, after=after), came_from)
                self.settle()
                if not self.refits or (self.published == "trained" and not self.learns_again):
                    return
                self.first = first = {"figures": self.judge(), "scale": self.scale, "made": self.last_step}
                first["said"] = None if self.judgement is None else list(self.judgement.predicted)
                came_from = None
            self._take_all_in()
            if self.published != "trained":
                self.run.log(f"The head is fitted again on all {len(self.train)} examples.")
                return
            steps, self.learned_from = first["figures"]["best_step"], len(self.train)
            torch.manual_seed(self.run.spec.seed)
            self.rng = np.random.default_rng([self.run.spec.seed, 1])
            self.restart()
            self.run.log(f"Training again on all {len(self.train)} examples, for {steps} steps.")
            self.learn(Pass(steps, before=first["made"], note=first), came_from)

    def _go_on(self, first: dict[str, Any]) -> None:
        """With the second pass, whose checkpoints tell what the first one came to."""
        self.first, self.scale, self.published = first, first["scale"], "trained"
        if first.get("said"):  # a checkpoint of an older version has none
            items = self.test or self.validation
            self.judgement = Judgement(self.train, items, first["said"], self.evaluation_split)

    def advance(self, step: int, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """`accumulation` batches, then one move at the rate of this step."""
        params, loss, samples = self.params, 0.0, 0
        self.throughput.begin()
        rate = (params.learning_rate or self.rate) * self.turn(step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        optimiser.zero_grad()
        for _ in range(params.accumulation):
            count = min(params.batch_size, len(self.train))
            rows = self.rng.choice(len(self.train), count, replace=False)
            truth = torch.from_numpy(self.y[rows]).to(self.device)
            found = self.batch_logits(rows)
            part = torch.nn.functional.cross_entropy(found, truth, weight=self.weights) / params.accumulation
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
            samples += count
        torch.nn.utils.clip_grad_norm_(list(self.trained_parameters().values()), _GRADIENT_NORM)
        optimiser.step()
        return {"loss": loss, "learning_rate": rate, **self.throughput.end(samples)}

    @property
    def warmup(self) -> int:
        """Steps during which the rate rises."""
        return max(math.ceil(self.params.warmup_of(self.total)), 1)

    def turn(self, step: int) -> float:
        """The share of the peak rate at this step."""
        return min(step / self.warmup, 0.5 * (1 + math.cos(math.pi * step / self.total)))

    def look(self) -> tuple[float | None, dict[str, float]]:
        """See `StepLoop`: by the held-out examples' log loss, which tells more than a few right or wrong."""
        if not len(self.validation_y):
            return None, {}
        losses, accuracy = self.validation_losses()
        loss = float(losses.mean())
        self.loss_error = float(losses.std()) / math.sqrt(len(losses))
        return -loss, {"validation_accuracy": accuracy, "validation_loss": loss}

    def validation_losses(self) -> tuple[Losses, float]:
        """float64[n]: of each held-out image, by the classifier as it is now, calibrated; and how often it is right."""
        logits = self.logits_of(self.features_of(self.validation))
        shares = log_softmax(fit_scale(logits, self.validation_y) * logits)
        right = float((logits.argmax(axis=1) == self.validation_y).mean())
        return np.asarray(-shares[np.arange(len(self.validation_y)), self.validation_y], np.float64), right

    def tolerance(self, best: float) -> float:
        """One standard error of the loss (Breiman et al. 1984, for trees): a few held-out examples cannot tell such
        looks apart, and longer training did better on others (docs/training.md).
        """
        return self.loss_error

    def current(self) -> Parts:
        return {
            name: parameter.detach().cpu().clone() for name, parameter in self.trained_parameters().items()
        }

    def put(self, parts: Parts) -> None:
        with torch.no_grad():
            for name, parameter in self.trained_parameters().items():
                parameter.copy_(parts[name])

    @property
    def refits(self) -> bool:
        """Whether what was held out is taken in at last. Data that brings a split of its own keeps it."""
        return self.params.refit and bool(self.validation) and not self.examples.is_split

    def _take_all_in(self) -> None:
        """Hold nothing out any longer."""
        self.train, self.validation = [*self.train, *self.validation], []
        self.y, self.validation_y = np.concatenate([self.y, self.validation_y]), np.zeros(0, int)
