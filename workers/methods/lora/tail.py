"""The last stages of a tower that can be cut, and a linear head on them, trained on a few labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import nn

from app.inference.protocols import Vectors
from workers.methods.common.features import computed_views
from workers.methods.lora.encoder_training import EncoderTraining
from workers.shared.examples import Item

COPIES = 8
_UNCHANGED = 0.5
"""Share of what is shown that is no changed copy."""
_CACHE = "activations.safetensors"
_BATCH = 32


class TailTraining(EncoderTraining):
    """See `workers.shared.method.TrainingMethod`."""

    adapted = "tail"
    rate = 2e-4
    steps = 200

    def build(self) -> None:
        """Activations of every example and of its changed copies, once; then the tail, with a head on top."""
        self.base = self.cut = self.family.cut(self.device)
        copies = COPIES if self.params.augment else 0
        sides = (
            ("train", self.train, copies),
            ("validation", self.validation, copies if self.refits else 0),
            ("test", self.test, 0),
        )
        self.cached = {name: self._cached(name, items, several) for name, items, several in sides if items}
        self.x = self.cached["train"]
        self._lay_out()

    def restart(self) -> None:
        self.x = np.concatenate([self.x, self.cached["validation"]])
        self._lay_out()

    def _lay_out(self) -> None:
        """The pretrained tail, and a head that starts at the class means."""
        self.tail = self.cut.build_tail().to(self.device)
        self.linear = self.start_linear(self._embedded(self.x[:, 0]))

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Tail and head."""
        tail = {f"tail.{name}": one for name, one in self.tail.named_parameters() if one.requires_grad}
        return tail | {f"head.{name}": one for name, one in self.linear.named_parameters()}

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

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """See `EncoderTraining`; activations of all items are at hand."""
        if not items:
            return np.zeros((0, self.cut.dim), np.float32)
        known = self.x if items is self.train else self.cached["test" if items is self.test else "validation"]
        return self._embedded(known[:, 0])

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """See `EncoderTraining`; the base's texts do not belong to the changed space."""
        return *self.linear_rows(self.linear), None

    def write(self, folder: Path) -> list[str]:
        """The tail."""
        return [self.cut.write_tail(self.tail, folder)]

    def _embedded(self, activations: Vectors) -> Vectors:
        self.tail.train(False)
        parts = []
        with torch.no_grad():
            for start in range(0, len(activations), _BATCH):
                x = torch.from_numpy(activations[start : start + _BATCH].astype(np.float32)).to(self.device)
                parts.append(self.tail(x).cpu().numpy())
        return np.concatenate(parts)

    def _cached(self, name: str, items: Sequence[Item], copies: int) -> Vectors:
        """float16[n, copies + 1, ...], from the checkpoint where there is one."""
        restored = self.run.restored
        if restored is not None and (restored / _CACHE).is_file():
            known = load_file(restored / _CACHE).get(name)
            if known is not None and known.shape[:2] == (len(items), copies + 1):
                return known
        return computed_views(
            self.run, self.examples, items, copies, self.params.changes(), self._activations
        )

    def _activations(self, views: Sequence[Image.Image]) -> Vectors:
        found: Vectors = self.cut.activations([self.cut.preprocess(view) for view in views])
        return found

    def remember(self, folder: Path) -> None:
        save_file(self.cached, folder / _CACHE)
