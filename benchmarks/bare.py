"""The loop that a service is measured against: same decoding pool, weights and largest batch, nothing else.

Knows no HTTP, no queue and no overlap: a batch is decoded by all threads, then run, then the next one comes.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from app.families.encoders import load_encoder, resolve
from app.inference.opening import largest_batch
from app.inference.protocols import Pixels, min_decoded_side
from app.inference.sources import EncoderConfig
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings


class BareLoop:
    """The default encoder in this process."""

    def __init__(self, settings: Settings, images: list[bytes]) -> None:
        """`settings` are those of the service measured beside it, so that both run the same runtime."""
        self.encoder = load_encoder(resolve(settings.models.encoder), EncoderConfig.from_settings(settings))
        self._limits = ImageLimits.from_settings(settings)
        self._pool = ThreadPoolExecutor(settings.batching.decode_threads or os.cpu_count())
        self._images = images
        self._max_batch = largest_batch(settings)
        for size in {1, self._max_batch}:  # warm
            self.encoder.encode_images(np.stack([self._prepare(images[0])] * size))

    def rate(self, seconds: float) -> float:
        """Images a second in largest batches."""
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds:
            batch = [self._images[(done + index) % len(self._images)] for index in range(self._max_batch)]
            self.encoder.encode_images(np.stack(list(self._pool.map(self._prepare, batch))))
            done += len(batch)
        return done / elapsed

    def single_s(self, seconds: float) -> float:
        """Median seconds of one image alone, from bytes to vector."""
        took = []
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            self.encoder.encode_images(self._prepare(self._images[len(took) % len(self._images)])[np.newaxis])
            took.append(time.perf_counter() - begun)
        return median(took)

    def _prepare(self, data: bytes) -> Pixels:
        return self.encoder.preprocess(
            decode_pixels(data, self._limits, min_side=min_decoded_side(self.encoder))
        )
