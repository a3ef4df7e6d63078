"""Features of a job's examples by a frozen encoder, computed once: the slow part of learning on features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

from app.collections.texts import prompts
from app.families import DEFAULT_ENCODER, FAMILIES
from app.families.encoders import load_encoder, resolve
from app.inference import device as devices
from app.inference.protocols import Encoder, TextEncoder, Vectors
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.media.augmentation import AugmentationSettings, augment
from workers.methods.common.reproducible import deterministic
from workers.shared.examples import Examples, Item
from workers.shared.method import Run

_FILE = "features.safetensors"
_BATCH = 8


def compute_views(
    run: Run,
    examples: Examples,
    items: Sequence[Item],
    copies: int,
    settings: AugmentationSettings,
    encode: Callable[[Sequence[Image.Image]], Vectors],
    count: Callable[[int], None] | None = None,
    file: Path | None = None,
) -> Vectors:
    """What `encode` gives for each of the items (at least one) and its changed copies: [n, copies + 1, ...].

    `count` is called with the number of items done; without it they are counted as the job's steps. With `file` the
    array lies there and not in memory.
    """
    rng = np.random.default_rng([run.spec.seed, len(items), copies])
    found: Vectors | None = None
    for number, item in enumerate(items, 1):
        image = examples.image(item)
        views = encode([image, *(augment(image, rng, settings) for _ in range(copies))])
        if found is None:
            shape = (len(items), *views.shape)
            found = (
                np.empty(shape, views.dtype) if file is None else open_memmap(file, "w+", views.dtype, shape)
            )
        found[number - 1] = views
        if count is None:
            run.step(number, len(items))
        else:
            count(number)
        if run.checkpoint_due(number, 1 << 62):
            run.stop_if_asked()
    if found is None:
        raise ValueError("no items")
    return found


class Features:
    """float32[n, copies, d] of n items, the first copy being the image itself."""

    def __init__(self, run: Run, examples: Examples, *, base: str | None = None) -> None:
        """Loads the encoder, `base` or else the job's own; raises what `load_encoder` raises."""
        self._run, self._examples = run, examples
        self._done = self._total = 0
        self.encoder: Encoder = load_encoder(
            resolve(base or run.spec.base_model or DEFAULT_ENCODER), EncoderConfig.from_settings(run.settings)
        )

    def expect(self, images: int) -> None:
        """So many images are about to come, in several calls of `of`: they are counted as one."""
        self._done, self._total = 0, images

    def of(self, items: Sequence[Item], copies: int, settings: AugmentationSettings, *, name: str) -> Vectors:
        """The items' features and those of `copies` changed copies each; remembered in checkpoints as `name`."""
        if self._done + len(items) > self._total:
            self.expect(len(items))
        known = self._load_cached(name)
        if known is not None and known.shape[:2] == (len(items), copies + 1):
            self._done += len(items)
            return known
        if not items:
            return self._encode([])[:, None]
        before = self._done

        def count(number: int) -> None:
            self._done = before + number
            self._run.step(self._done, self._total)

        return compute_views(self._run, self._examples, items, copies, settings, self._encode, count=count)

    def texts(self, labels: Sequence[str], descriptions: dict[str, str]) -> Vectors | None:
        """float32[C, d]: for each label the mean of its prompts, of unit norm; None if the encoder reads none."""
        if not isinstance(self.encoder, TextEncoder):
            return None
        rows = []
        for label in labels:
            mean = self.encoder.encode_texts(prompts(label, descriptions.get(label, ""))).mean(axis=0)
            rows.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        return np.stack(rows).astype(np.float32)

    def _encode(self, views: Sequence[Image.Image]) -> Vectors:
        if not views:
            return np.empty((0, self.encoder.dim), np.float32)
        pixels = np.stack([self.encoder.preprocess(view) for view in views])
        parts = [self.encoder.encode_images(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        return np.concatenate(parts)

    def _load_cached(self, name: str) -> Vectors | None:
        restored = self._run.restored
        if restored is None or not (restored / _FILE).is_file():
            return None
        return load_file(restored / _FILE).get(name)


class Activations(Features):
    """float16[n, copies, ...]: what an encoder's last stages are given, where these learn along."""

    def __init__(self, run: Run, examples: Examples) -> None:
        """Raises NotTrainableError for encoders without a cheap cut, whose own weights LoRA trains."""
        super().__init__(run, examples)
        family = FAMILIES.get(self.encoder.family)
        if not family.is_cut:
            able = " and ".join(f"'{family.name}'" for family in FAMILIES.of_kind("encoder") if family.is_cut)
            raise NotTrainableError(
                f"Only {able} is trained end to end by this method; use the method 'lora' for "
                f"'{run.spec.base_model}'."
            )
        self.cut = family.cut(torch.device(devices.parse(run.settings.models.device).torch_name))

    def _encode(self, views: Sequence[Image.Image]) -> Vectors:
        if not views:
            return np.empty((0, *self.cut.shape), np.float16)
        pixels = [self.cut.preprocess(view) for view in views]
        with deterministic():
            found: Vectors = self.cut.activations(pixels)
        return found


def remember(folder: Path, arrays: dict[str, NDArray[np.float32]]) -> None:
    """Put features into a checkpoint, so that the next attempt need not compute them."""
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _FILE)
