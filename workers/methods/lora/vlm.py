"""LoRA for vision-language models: a few answered questions or captions become an adapter over the base."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from app.inference import device as devices
from app.jobs.spec import ModelCard
from app.media.augmentation import augment
from app.methods.lora import LoraParams
from app.methods.params import DEFAULT_PATIENCE, Params
from workers.methods.common.vlm.adapting import AdaptedVlm
from workers.methods.common.vlm.answering import COMPARED, Judge
from workers.methods.common.vlm.items import MILD, VlmItems
from workers.methods.common.vlm.lengths import limit_texts
from workers.methods.common.vlm.lessons import Tensors, count_tokens
from workers.methods.common.vlm.saving import write_card
from workers.methods.lora.rehearsal import make_rehearsal
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, Run
from workers.shared.throughput import Throughput

PASSES, MIN_PASSES = 150, 3
"""Times every example is seen where `steps` is left empty: a few examples often, within `MAX_STEPS`, many rarely."""
MIN_STEPS, MAX_STEPS = 60, 300
RATE, WIDTH, POWER = 5e-4, 2000, 0.781
"""The learning rate of a language model of this width, and how it falls with the width (Schulman et al. 2025, LoRA
Without Regret, for Llama): 2.9e-4 at 4,096, 4.3e-3 at 128.
"""
PROJECTOR_SHARE = 0.1
"""Of the learning rate, for the projector: LLaVA fine-tunes with 2e-4 and 2e-5 (Liu et al. 2024)."""
WATCHED = 64
"""Held-out examples asked at every look; the evaluation asks them all."""
_CURRENT, _BEST, _OPTIMISER, _STATE = "current.safetensors", "best.safetensors", "optimiser.pt", "state.json"


@dataclass
class _Progress:
    """Where training stands, as a checkpoint keeps it."""

    step: int = 0
    best_step: int = 0
    best: tuple[float, float] = (-1.0, -math.inf)
    """Exact match and negative loss of the best look, in this order: a look with more right answers wins."""
    looks_since: int = 0


class VlmLora:
    """LoRA on all linear layers of the language model, the projector beside it (`workers.shared.method`)."""

    def __init__(self, run: Run, params: LoraParams, examples: Examples) -> None:
        self._run = run
        self._params = params
        self._items = VlmItems(examples)
        self._progress = _Progress()

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """Raises NotTrainableError."""
        VlmItems.check(examples)

    def prepare(self) -> None:
        """Load the base, lay the adapter in, split the examples; take up a checkpoint."""
        run, params = self._run, self._params
        self._splits, gone = self._items.split_items(params.validation_share, run.spec.seed)
        if gone:
            run.log(f"{gone} examples are left out: their images are gone")
        torch.set_num_threads(devices.threads(run.settings.models.threads))
        torch.manual_seed(run.spec.seed)
        self._adapted = AdaptedVlm(
            run.spec.base_model or "", params, run.settings, recomputing=params.gradient_checkpointing
        )
        self._splits = limit_texts(self._splits, self._adapted.lessons, params, run.log)
        self._judge = Judge(
            self._adapted.lessons,
            self._items,
            params.batch_size,
            self._adapted.number_format,
            self._adapted.images,
        )
        self._steps = params.steps_for(len(self._splits.train)) or self._default_steps()
        self._peak = params.learning_rate or RATE * (WIDTH / self._adapted.width) ** POWER
        low_rank, projector = self._adapted.parts()
        groups = [{"params": low_rank, "share": 1.0}, {"params": projector, "share": PROJECTOR_SHARE}]
        self._optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=params.weight_decay
        )
        self._best = self._adapted.weights()
        self._rehearsed: list[Item] = []
        if params.rehearsal and self._items.task == "vqa":
            with self._adapted.without():
                self._rehearsed = make_rehearsal(self._splits.train, self._judge.answers, run.spec.seed)
        if run.restored is not None:
            self._restore(run.restored)
        trained = sum(parameter.numel() for parameter in self._adapted.trained_parameters.values())
        run.log(
            f"{trained:,} parameters are trained on {len(self._splits.train)} examples in {self._steps} steps; "
            f"{len(self._splits.held_out)} examples are held out"
        )
        if (params.warmup_steps or 0) >= self._steps:
            run.log(params.warmup_note(self._steps))

    def fit(self) -> None:
        """Each step's batch, changes and dropout follow from the seed and the step alone, so that a run that was
        interrupted goes on as if it had not been.
        """
        run, params, progress = self._run, self._params, self._progress
        throughput = Throughput(self._adapted.device)
        self._adapted.model.train()
        while progress.step < self._steps and not self._is_settled():
            progress.step += 1
            throughput.begin()
            loss, samples, tokens = self._train(progress.step)
            figures = {"loss": loss, "learning_rate": self._rate(progress.step)}
            figures |= throughput.end(samples, tokens)
            if self._splits.held_out and (
                progress.step % params.evaluate_every == 0 or progress.step == self._steps
            ):
                figures |= self._look()
            run.step(progress.step, self._steps, **figures)
            if run.checkpoint_due(progress.step, params.checkpoint_every):
                run.checkpoint(progress.step, self._write)
            run.stop_if_asked()
        if self._is_settled():
            run.log(f"no better answers for {progress.looks_since} looks: stopped after step {progress.step}")
        if self._splits.held_out:
            self._adapted.restore(self._best)
        else:
            progress.best_step = progress.step

    def evaluate(self) -> dict[str, Any]:
        """Figures of the best checkpoint's answers (`Judge.evaluate`) and of the base's own, with what always giving
        the commonest answer would match.
        """
        before: dict[str, Any] = {}
        if self._splits.evaluation:
            with self._adapted.without():
                before = self._judge.evaluate(self._splits)
        return {
            **self._judge.evaluate(self._splits),
            "before": {name: before[name] for name in COMPARED if name in before},
            "taught": len(self._splits.train),
            "best_step": self._progress.best_step,
        }

    @property
    def judgement(self) -> Judgement | None:
        """See `TrainingMethod`."""
        return self._judge.judgement

    def save(self, folder: Path) -> ModelCard:
        """An adapter in peft's format with a `vision.json`; the vision tower and the base stay out of it."""
        adapted = self._adapted
        adapted.save(folder, self._run.spec.base_model or adapted.files.name)
        return write_card(
            folder,
            self._run.spec,
            self._items,
            adapted.files,
            family=adapted.files.family_class.family,
            adapted="peft",
            parameters=sum(weight.numel() for weight in adapted.trained_parameters.values()),
        )

    def _default_steps(self) -> int:
        seen = self._params.batch_size * self._params.accumulation
        taught = len(self._splits.train)
        few = min(max(math.ceil(PASSES * taught / seen), MIN_STEPS), MAX_STEPS)
        return max(few, math.ceil(MIN_PASSES * taught / seen))

    def _is_settled(self) -> bool:
        patience = DEFAULT_PATIENCE if self._params.patience is None else self._params.patience
        return 0 < patience <= self._progress.looks_since

    def _train(self, step: int) -> tuple[float, int, int]:
        """One optimiser step; the mean loss of its batches, and how many examples and tokens they held."""
        params, lessons, total = self._params, self._adapted.lessons, 0.0
        samples = tokens = 0
        rng = np.random.default_rng((self._run.spec.seed, step))
        torch.manual_seed(int(rng.integers(2**31)))  # dropout's
        for part in range(params.accumulation):
            items = [*self._batch((step - 1) * params.accumulation + part), *self._draw_rehearsal(rng)]
            made = [self._lesson(item, rng) for item in items]
            samples, tokens = samples + len(made), tokens + sum(map(count_tokens, made))
            batch = lessons.stack(made)
            names = None if params.augment else [item.sha256 for item in items]
            with self._adapted.number_format(), self._adapted.images.showing(names):
                loss = lessons.loss(batch) / params.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step) * group["share"]
        torch.nn.utils.clip_grad_norm_(list(self._adapted.trained_parameters.values()), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total, samples, tokens

    def _batch(self, number: int) -> list[Item]:
        """The items of batch `number`: passes over all, each in an order of its own."""
        taught, size = self._splits.train, self._params.batch_size
        chosen = []
        for place in range(number * size, (number + 1) * size):
            round_, index = divmod(place, len(taught))
            order = np.random.default_rng((self._run.spec.seed, 1 << 32, round_)).permutation(len(taught))
            chosen.append(taught[order[index]])
        return chosen

    def _draw_rehearsal(self, rng: np.random.Generator) -> list[Item]:
        """What goes into a batch of the base's own answers."""
        if not self._rehearsed:
            return []
        count = math.ceil(self._params.rehearsal * self._params.batch_size)
        return [self._rehearsed[index] for index in rng.integers(len(self._rehearsed), size=count)]

    def _lesson(self, item: Item, rng: np.random.Generator) -> Tensors:
        """The item as it is taught, its image changed where that is asked for."""
        make = partial(self._adapted.lessons.lesson, answer=item.answer or "")
        if not self._params.augment:
            return self._adapted.images.lesson(item, lambda: make(self._items.prompt(item, 0)))
        image = augment(self._items.image(item), rng, self._params.changes(MILD))
        return make(self._items.prompt(item, 0, image))

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to nothing."""
        warmup = round(self._params.warmup_of(self._steps))
        if step <= warmup:
            return self._peak * step / warmup
        left = (step - warmup) / max(1, self._steps - warmup + 1)
        return self._peak * 0.5 * (1 + math.cos(math.pi * left))

    def _look(self) -> dict[str, float]:
        """Ask the held-out items; keep the weights when they answer better than any before."""
        progress, items = self._progress, self._splits.held_out[:WATCHED]
        exact = self._judge.figures(items)["exact_match"]
        loss = self._judge.loss(items)
        if (exact, -loss) > progress.best:
            progress.best, progress.best_step, progress.looks_since = (exact, -loss), progress.step, 0
            self._best = self._adapted.weights()
        else:
            progress.looks_since += 1
        return {"held_out_exact_match": exact, "held_out_loss": loss}

    def _write(self, folder: Path) -> None:
        save_file(self._adapted.weights(), folder / _CURRENT)
        save_file(self._best, folder / _BEST)
        torch.save(self._optimiser.state_dict(), folder / _OPTIMISER)
        (folder / _STATE).write_text(json.dumps(asdict(self._progress)))

    def _restore(self, folder: Path) -> None:
        self._adapted.restore(load_file(folder / _CURRENT))
        self._best = load_file(folder / _BEST)
        self._optimiser.load_state_dict(torch.load(folder / _OPTIMISER, weights_only=True))
        state = json.loads((folder / _STATE).read_text())
        self._progress = _Progress(**{**state, "best": tuple(state["best"])})


METHOD = VlmLora
