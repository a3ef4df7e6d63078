"""Examples as a torch dataset: images read, changed and prepared one at a time, so that none are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from app.inference.protocols import Pixels
from app.media.augmentation import AugmentationSettings, augment
from workers.methods.common.splits import targets
from workers.shared.examples import Examples, Item


class PixelData(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """pixel_values float32[3, h, w] and labels int64[] of each item."""

    def __init__(
        self,
        examples: Examples,
        preprocess: Callable[[Image.Image], Pixels],
        labels: Sequence[str],
        items: Sequence[Item],
        *,
        seed: int = 0,
        changes: AugmentationSettings | None = None,
    ) -> None:
        self._examples, self._preprocess, self._items = examples, preprocess, items
        self._targets = targets(items, labels)
        self._settings = changes
        self._seed = seed

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image = self._examples.image(self._items[index])
        if self._settings is not None:
            # torch's generator is part of a checkpoint, so that a resumed run sees the copies it would have seen
            draw = int(torch.randint(2**31, ()).item())
            image = augment(image, np.random.default_rng([self._seed, index, draw]), self._settings)
        return {
            "pixel_values": torch.from_numpy(self._preprocess(image)),
            "labels": torch.tensor(self._targets[index]),
        }
