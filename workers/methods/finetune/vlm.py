"""Many-shot training of vision-language models: questions or captions by the thousand, the whole model or adapters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from app.jobs.spec import ModelCard
from app.media.augmentation import AugmentationSettings, augment
from app.methods.finetune import FinetuneParams
from app.methods.params import DEFAULT_PATIENCE, Params
from workers.methods.common.precision import forward_pass
from workers.methods.common.vlm.adapting import AdaptedVlm, base_files, recompute
from workers.methods.common.vlm.answering import COMPARED, Judge
from workers.methods.common.vlm.items import MILD, VlmItems
from workers.methods.common.vlm.lengths import limit_texts
from workers.methods.common.vlm.lessons import Lessons, lessons_for
from workers.methods.common.vlm.saving import write_card
from workers.methods.finetune.arguments import forward_dtype, rank_device, training_arguments
from workers.methods.finetune.by_length import ByLength, differ_much
from workers.methods.finetune.callbacks import CountingTrainer, callbacks_for, run_trainer
from workers.methods.finetune.fitting import available_bytes, fitting_batches, state_bytes
from workers.methods.finetune.fully_sharded import fsdp_config
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, Run

JUDGED = 500
"""Test examples that are answered at most: writing answers takes far longer than a forward pass."""
_MAX_HELD_OUT = 1_000
"""Held-out examples that the best checkpoint is chosen by at most."""
_BATCH = 16


class FinetuneVlm:
    """See `workers.shared.method.TrainingMethod`."""

    judgement: Judgement | None = None

    def __init__(self, run: Run, params: FinetuneParams, examples: Examples) -> None:
        self.run, self.params = run, params
        self.items = VlmItems(examples)
        self.device = rank_device(run.settings)
        self.best_step = 0

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """Questions or captions with answers."""
        VlmItems.check(examples)

    def prepare(self) -> None:
        """Load the base, split the examples, choose the batch size by a dry run."""
        run, params = self.run, self.params
        transformers.set_seed(run.spec.seed)
        self.dtype = forward_dtype(params, self.device)
        self.splits, gone = self.items.split_items(params.validation_share, run.spec.seed)
        if gone:
            run.log(f"{gone} examples are left out: their images are gone")
        self.adapted: AdaptedVlm | None = None
        self.lessons: Lessons
        if params.lora is not None:
            self.adapted = AdaptedVlm(
                run.spec.base_model or "",
                params.lora,
                run.settings.replace(device=str(self.device)),
                recomputing=params.gradient_checkpointing,
                dtype=self.dtype,
            )
            self.files, self.lessons = self.adapted.files, self.adapted.lessons
        else:
            self._load_whole()
        self.splits = limit_texts(self.splits, self.lessons, params, run.log)
        self.module = _LessonModule(self.lessons)
        judge = self._judge()
        fresh = run.restored is None and run.rank == 0
        self.before = judge.evaluate(self.splits, JUDGED) if fresh and self.splits.evaluation else {}
        if params.gradient_checkpointing and self.adapted is None:
            recompute(self.lessons.vlm.model, self.files.name)
        self.batches = fitting_batches(
            params,
            self._dry_step,
            device=self.device,
            budget_bytes=available_bytes(run.settings, self.device),
            state_bytes=state_bytes(self.module, params, self.device),
        )
        run.log(
            f"{len(self.splits.train)} examples to train on, {len(self.splits.held_out)} to choose by; "
            f"{sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad):,} numbers "
            "are trained"
        )
        run.log(self.batches.reason)

    def fit(self) -> None:
        """The Trainer's loop, the best checkpoint by the loss on held-out examples."""
        folder = self.run.scratch / "trainer"
        trained, self.best_step = run_trainer(self.trainer(folder), self.run, folder, self.module)
        self.module = trained.to(self.device)

    def trainer(self, folder: Path) -> transformers.Trainer:
        """The Trainer over what `prepare` made, which writes into `folder`."""
        run, params = self.run, self.params
        held = self.splits.held_out[:_MAX_HELD_OUT]
        patience = DEFAULT_PATIENCE if params.patience is None else params.patience
        arguments = training_arguments(
            params,
            self.batches,
            folder=folder,
            examples=len(self.splits.train),
            evaluates=bool(held),
            seed=run.spec.seed,
            device=self.device,
            metric="eval_loss",
            log=run.log,
            fsdp=fsdp_config(params, self.module, self.device),
        )
        changes = params.changes(MILD) if params.augment else None
        return _VlmTrainer(
            forward_format=(self.device, self.dtype),
            model=self.module,
            args=arguments,
            data_collator=self._collate,
            train_dataset=_LessonDataset(self.splits.train, run.spec.seed, changes),
            eval_dataset=_LessonDataset(held, run.spec.seed, None) if held else None,
            callbacks=callbacks_for(run, patience if held else 0, self.device),
        )

    def evaluate(self) -> dict[str, Any]:
        """Exact match and BLEU, or the figures of a classifier for labels, on the test split (or what was held out),
        the base's own beside them.
        """
        judge = self._judge()
        figures = judge.evaluate(self.splits, JUDGED)
        self.judgement = judge.judgement
        return {
            **figures,
            "before": {name: self.before[name] for name in COMPARED if name in self.before},
            "best_step": self.best_step,
        }

    def save(self, folder: Path) -> ModelCard:
        """The whole model as a checkpoint of its own, or the adapter, with a `vision.json`."""
        base = self.run.spec.base_model or self.files.name
        trained = sum(parameter.numel() for parameter in self.module.parameters() if parameter.requires_grad)
        if self.adapted is not None:
            self.adapted.save(folder, base)
        else:
            self.lessons.vlm.model.save_pretrained(folder, safe_serialization=True)
            self.lessons.vlm.processor.save_pretrained(folder)
        card = write_card(
            folder,
            self.run.spec,
            self.items,
            self.files,
            family=self.lessons.vlm.family,
            adapted=None if self.adapted is None else "peft",
            parameters=trained,
        )
        card.data = {"trained_on": len(self.splits.train), "batches": self.batches.reason}
        return card

    def _load_whole(self) -> None:
        self.files = base_files(self.run.spec.base_model or "", self.run.settings)
        model = self.files.model(str(self.device), torch.float32)
        model.requires_grad_(True)
        vlm = self.files.family_class(self.files.name, model, self.files.processor(), self.device)
        self.lessons = lessons_for(vlm)

    def _judge(self) -> Judge:
        # where weights are divided, every rank has to call every layer
        keeps = not self.params.divides_state
        return Judge(
            self.lessons,
            self.items,
            _BATCH,
            partial(forward_pass, self.device, self.dtype),
            self.adapted.images if self.adapted is not None and keeps else None,
        )

    def _collate(
        self, drawn: Sequence[tuple[Item, int, AugmentationSettings | None]]
    ) -> dict[str, torch.Tensor]:
        """One batch of lessons on the CPU; what one draw changes follows from its number alone."""
        taught = []
        for item, draw, changes in drawn:
            image = self.items.image(item)
            if changes is not None:
                image = augment(image, np.random.default_rng(draw), changes)
            taught.append((self.items.prompt(item, 0, image), item.answer or ""))
        batch: dict[str, torch.Tensor] = self.lessons.collate(taught)
        return batch

    def _dry_step(self, size: int) -> None:
        """The longest answers, which take the most."""
        longest = sorted(
            self.splits.train, key=lambda item: -len((item.question or "") + (item.answer or ""))
        )
        drawn = [(longest[index % len(longest)], 0, None) for index in range(size)]
        self.module.train()
        with forward_pass(self.device, self.dtype):
            loss = self.module(**self.lessons.move(self._collate(drawn)))["loss"]
        loss.backward()
        self.module.zero_grad(set_to_none=True)


class _LessonModule(nn.Module):
    """A model as the Trainer sees it: a batch of lessons to their loss."""

    _keys_to_ignore_on_save = None  # the Trainer asks for it where tied weights were written once
    accepts_loss_kwargs = False
    """The loss is a batch's own mean: else the Trainer would leave dividing it among accumulated batches and ranks to
    the module, as it supposes of one that takes any name.
    """

    def __init__(self, lessons: Lessons) -> None:
        super().__init__()
        self.model = lessons.vlm.model
        self._lessons = [lessons]  # in a list, or the module would take its parts for its own

    def forward(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss; there is nothing else to say of a batch of answers."""
        return {"loss": self._lessons[0].loss(batch)}


class _VlmTrainer(CountingTrainer):
    """Writes tensors that share memory (tied embeddings) once, as safetensors wants it; loading ties them again."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int] | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        if not differ_much(dataset.lengths):
            return super()._get_train_sampler(train_dataset)
        together = self.args.per_device_train_batch_size * self.args.world_size
        return ByLength(dataset.lengths, together, self.args.seed)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = self.accelerator.unwrap_model(self.model).state_dict() if state_dict is None else state_dict
        seen: set[int] = set()
        once = {}
        for name, tensor in state.items():
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                once[name] = tensor.detach().cpu().contiguous()
        save_file(once, folder / "model.safetensors", metadata={"format": "pt"})
        torch.save(self.args, folder / "training_args.bin")


class _LessonDataset(torch.utils.data.Dataset[tuple[Item, int, Any]]):
    """Items with a number for their changes, drawn from torch's generator, which checkpoints keep."""

    def __init__(self, items: Sequence[Item], seed: int, changes: AugmentationSettings | None) -> None:
        self._items, self._changes, self._seed = items, changes, seed

    def __len__(self) -> int:
        return len(self._items)

    @property
    def lengths(self) -> list[int]:
        """Characters of question and answer, which tokens follow."""
        return [len(item.question or "") + len(item.answer or "") for item in self._items]

    def __getitem__(self, index: int) -> tuple[Item, int, Any]:
        draw = 0 if self._changes is None else int(torch.randint(2**31, ()).item())
        return self._items[index], draw, self._changes


METHOD = FinetuneVlm
