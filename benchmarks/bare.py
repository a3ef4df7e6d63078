"""The loop that a service is measured against: same decoding pool, weights and largest batch, nothing else.

There is no HTTP, no queue and no overlap: a batch is decoded by all threads, then run, then the next one comes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import cast

import numpy as np

from app.families.encoders import load_encoder, resolve
from app.inference.capacity import largest_batch
from app.inference.protocols import Launching, Pixels, min_decoded_side
from app.inference.sources import EncoderConfig
from app.media.encoded import EncodedJpeg, as_encoded_jpeg
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings

MAX_WARMING_SECONDS = 60.0
"""For a GPU to record its graphs and measure its largest batch."""


class BareLoop:
    """The default encoder in this process."""

    def __init__(self, settings: Settings, images: list[bytes]) -> None:
        """`settings` are those of the service measured beside it, so that both run the same runtime."""
        self.encoder = load_encoder(resolve(settings.models.encoder), EncoderConfig.from_settings(settings))
        self._limits = ImageLimits.from_settings(settings)
        self._pool = ThreadPoolExecutor(settings.batching.decode_threads or os.cpu_count())
        self._images = images
        self._launcher = self.encoder.launcher if isinstance(self.encoder, Launching) else None
        self._max_batch = self._launcher.largest_batch if self._launcher else largest_batch(settings)
        if self._launcher is not None:
            self._launcher.warm(self._allow)
            self._launcher.settle(MAX_WARMING_SECONDS)
        for size in {1, self._max_batch}:  # warm
            self._encode([self._prepare(images[0])] * size)

    def rate(self, seconds: float) -> float:
        """Images a second in largest batches."""
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds:
            batch = [self._images[(done + index) % len(self._images)] for index in range(self._max_batch)]
            self._encode(list(self._pool.map(self._prepare, batch)))
            done += len(batch)
        return done / elapsed

    def single_s(self, seconds: float) -> float:
        """Median seconds of one image alone, from bytes to vector."""
        took: list[float] = []
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            self._encode([self._prepare(self._images[len(took) % len(self._images)])])
            took.append(time.perf_counter() - begun)
        return median(took)

    def _allow(self, size: int) -> None:
        self._max_batch = size

    def _encode(self, images: Sequence[Pixels | EncodedJpeg]) -> None:
        if self._launcher is not None:
            self._launcher.launch(images)()
        else:
            self.encoder.encode_images(np.stack(cast(Sequence[Pixels], images)))

    def _prepare(self, data: bytes) -> Pixels | EncodedJpeg:
        """As the encoder takes it: on a GPU a file or full-size pixels, else resized."""
        if self._launcher is not None and self._launcher.reads_jpeg:
            file = as_encoded_jpeg(data, self._limits)
            if file is not None:
                return file
        pixels = decode_pixels(data, self._limits, min_side=min_decoded_side(self.encoder))
        return pixels if self._launcher is not None else self.encoder.preprocess(pixels)
