"""The last stages of a tower that can be cut, and a linear head on them, trained on labelled images.

What comes before them is computed once for each image and for some changed copies of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import nn

from app.inference.protocols import Vectors
from app.models.classifiers import Weights
from workers.methods.common.choosing import MAX_FITTED, Choice, Losses, losses_of
from workers.methods.common.encoder_training import EncoderTraining
from workers.methods.common.features import Features, compute_views
from workers.methods.common.looping import read_note
from workers.methods.common.starting import fit_plain_head
from workers.shared.examples import Item

MAX_COPIES, MAX_VIEWS = 8, 4_000
"""Changed copies of an image; images and copies together, beyond which each image has fewer copies, but one."""
_UNCHANGED = 0.5
"""Share of what is shown that is no changed copy."""
_TOLD_BY = 5_000
"""Views that the linear layer's start is fitted on, where there are so many."""
_CACHE = "activations.safetensors"
_IN_MEMORY_BYTES = 256 << 20
"""Activations beyond this lie in a file, and are computed again by an attempt that goes on from a checkpoint."""
_BATCH = 32


class TailTraining(EncoderTraining):
    """See `workers.shared.method.TrainingMethod`. A linear layer on the tail leads the training; what is told by is, as
    a rule, a closed-form head on what the tail has become, which was better on all sets that were tried
    (docs/training.md), and which costs no second pass to take in what was held out.
    """

    adapted = "tail"
    rate = 2e-3
    steps = 200
    learns_again = False
    unchosen: Choice = "head_on_trained_features"

    def build(self) -> None:
        """Activations of every example and of its changed copies, once; then the tail, with a head on top."""
        self.base = self.cut = self.family.cut(self.device)
        copies = self.copies() if self.params.augment else 0
        # only versions that made a second pass left checkpoints of one
        held = copies if read_note(self.run.restored) else 0
        splits = (
            ("train", self.train, copies),
            ("validation", self.validation, held),
            ("test", self.test, 0),
        )
        self.cached = {
            name: self._read_or_cache(name, items, several) for name, items, several in splits if items
        }
        self.places = {item: (name, row) for name, items, _ in splits for row, item in enumerate(items)}
        self.x = self.cached["train"]
        self._lay_out()
        self.untouched = self.current()

    def copies(self) -> int:
        """Changed copies of each example, where augmentation is on."""
        return min(MAX_COPIES, max(MAX_VIEWS // len(self.train) - 1, 1))

    def restart(self) -> None:
        """See `EncoderTraining`."""
        self.x = np.concatenate([self.x, self.cached["validation"]])
        self._lay_out()

    def _lay_out(self) -> None:
        """The pretrained tail, and a linear layer that starts as the closed-form head."""
        self.tail = self.cut.build_tail().to(self.device)
        views = min(self.x.shape[1], max(_TOLD_BY // len(self.x), 1))
        shown = [self._embed(self.x[:, view]) for view in range(views)]
        plain_head = fit_plain_head(shown[0], self.y, self.labels, self.priors)
        self.linear = self.start_linear(plain_head, np.concatenate(shown))

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Tail and head."""
        tail = {
            f"tail.{name}": parameter
            for name, parameter in self.tail.named_parameters()
            if parameter.requires_grad
        }
        return tail | {f"head.{name}": parameter for name, parameter in self.linear.named_parameters()}

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        """Every other example is shown as it is, since that is how images come to be asked about."""
        copies = self.rng.integers(0, self.x.shape[1], len(rows))
        shown = self.x[rows, np.where(self.rng.random(len(rows)) < _UNCHANGED, 0, copies)]
        self.tail.train()
        features = self.tail(torch.from_numpy(shown.astype(np.float32)).to(self.device))
        dropped = nn.functional.dropout(
            features, 0.25 if self.params.dropout is None else self.params.dropout
        )
        logits: torch.Tensor = self.linear_scale * self.linear(dropped)
        return logits

    def validation_losses(self) -> tuple[Losses, float]:
        """See `EncoderTraining`: by the closed-form head on the features as they are now."""
        found = self.classifier(Weights(*self.select_for_heads(MAX_FITTED))).predict(
            self.features_of(self.validation)
        )
        right = float((found.scores.argmax(axis=1) == self.validation_y).mean())
        return losses_of(found, self.validation_y), right

    def tolerance(self, best: float) -> float:
        """See `EncoderTraining`: none, since what it begins from is good already and longer training not better."""
        return 0.0

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """See `Publishing`; activations of all items are at hand."""
        rows = [self.places[item] for item in items]
        return self._embed([self.cached[name][row, 0] for name, row in rows])

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """See `Publishing`; the base's texts do not belong to the changed space."""
        return *self.linear_rows(self.linear), None

    def texts(self) -> Vectors | None:
        """See `Publishing`: those of the base, where its features are what is published."""
        return self._base_texts if self.published == "head" else None

    @cached_property
    def _base_texts(self) -> Vectors | None:
        features = Features(self.run, self.examples)
        if features.encoder.dim != self.cut.dim:  # of another quality
            return None
        return features.texts(self.labels, self.examples.descriptions)

    def write(self, folder: Path) -> list[str]:
        """The tail."""
        return [self.cut.write_tail(self.tail, folder)]

    def _embed(self, activations: Sequence[Vectors] | Vectors) -> Vectors:
        self.tail.train(False)
        parts = [np.zeros((0, self.cut.dim), np.float32)]
        with torch.no_grad():
            for start in range(0, len(activations), _BATCH):
                part = np.stack(list(activations[start : start + _BATCH])).astype(np.float32)
                parts.append(self.tail(torch.from_numpy(part).to(self.device)).cpu().numpy())
        return np.concatenate(parts)

    def _read_or_cache(self, name: str, items: Sequence[Item], copies: int) -> Vectors:
        """float16[n, copies + 1, ...], from the checkpoint where there is one."""
        restored = self.run.restored
        if restored is not None and (restored / _CACHE).is_file():
            known = load_file(restored / _CACHE).get(name)
            if known is not None and known.shape[:2] == (len(items), copies + 1):
                return known
        large = len(items) * (copies + 1) * self.view_bytes > _IN_MEMORY_BYTES
        file = self.run.scratch / f"{name}.npy" if large else None
        changes = self.params.changes()
        return compute_views(self.run, self.examples, items, copies, changes, self._activations, file=file)

    @property
    def view_bytes(self) -> int:
        """Of the activations of one image."""
        return 2 * math.prod(self.cut.shape)

    def _activations(self, views: Sequence[Image.Image]) -> Vectors:
        found: Vectors = self.cut.activations([self.cut.preprocess(view) for view in views])
        return found

    def remember(self, folder: Path) -> None:
        small = {name: array for name, array in self.cached.items() if not isinstance(array, np.memmap)}
        if small:
            save_file(small, folder / _CACHE)
