"""From a tower to a runtime on a GPU, held against the same tower fed by the checkpoint's own preprocessing."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from app.inference.device import Device
from app.inference.protocols import Rgb, Vectors
from app.inference.runtimes import parity
from app.inference.runtimes.engines import PARITY_IMAGES
from app.inference.runtimes.gpu.jpegs import BatchJpegDecoder, find_decoder
from app.inference.runtimes.gpu.resizing import FILTERS
from app.inference.runtimes.gpu.runtime import GpuOptions, GpuRuntime
from app.inference.runtimes.gpu.warming import Warming
from app.inference.runtimes.notes import Note, engines_folder, note_in
from app.inference.runtimes.tower import Tower
from app.inference.sources import EncoderConfig
from app.media.encoded import EncodedJpeg, decode_encoded

log = logging.getLogger(__name__)

MAX_MEASURED_BATCH = 256
"""The largest batch that is measured where the settings name none: on an H100 a ViT-B/32 gains nothing beyond."""
FIRST_BATCH = 32
"""Until something has been measured."""
_PROBE_QUALITY = 95


class Launcher:
    """A runtime with its finish; see `app.inference.protocols.ImageLauncher`."""

    def __init__(
        self, runtime: GpuRuntime, finish: Callable[[Vectors], Vectors], note: Note, settled: int | None
    ) -> None:
        """`settled` is the largest batch where the settings name it."""
        self._runtime, self._finish = runtime, finish
        self._note, self._settled = note, settled
        self._warming: Warming | None = None
        kept = note.read().get("largest")
        known = kept if isinstance(kept, int) and kept > 0 else FIRST_BATCH
        self.largest_batch = settled or min(known, runtime.options.max_batch)
        self.reads_jpeg = runtime.reads_jpeg

    def launch(self, images: Sequence[Rgb | EncodedJpeg]) -> Callable[[], Vectors]:
        pending = self._runtime.launch(images)
        return lambda: self._finish(pending.result())

    def warm(self, on_largest: Callable[[int], None]) -> None:
        if self._warming is None:
            self._warming = Warming(self._runtime, self._note, largest=self._settled, on_largest=on_largest)
            self._warming.start()

    def settle(self, seconds: float) -> None:
        if self._warming is not None:
            self._warming.wait(seconds)

    def close(self) -> None:
        if self._warming is not None:
            self._warming.stop()
        self._runtime.close()


def gpu_runtime(
    tower: Tower,
    config: EncoderConfig,
    place: Device,
    *,
    dtype: torch.dtype | None = None,
    backend: str | None = None,
    change: Callable[[torch.nn.Module], None] | None = None,
) -> GpuRuntime | None:
    """The tower on the device; None where its preprocessing cannot be done there, or strays from the checkpoint's own.

    `dtype` is the device's unless given, `backend` compiles by torch.compile, `change` works on the module before.
    """
    steps = tower.steps
    if steps is None or steps.resample not in FILTERS:
        return None
    dtype = dtype or getattr(torch, place.dtype_name)
    module = tower.build().to(place.torch_name, dtype)
    if change is not None:
        change(module)
    options = GpuOptions(
        config.max_batch or MAX_MEASURED_BATCH,
        config.gpu_staging_mb << 20,
        config.gpu_graphs,
        backend,
        _decoder_of(place.torch_name) if config.gpu_decode == "auto" else None,
    )
    runtime = GpuRuntime(
        module,
        place,
        dtype,
        steps,
        options,
        channels_last=tower.convolutional,
    )
    try:
        if _is_close(tower, runtime):
            return runtime
    except BaseException:
        runtime.close()
        raise
    runtime.close()
    return None


def launcher_of(
    runtime: object, finish: Callable[[Vectors], Vectors], fingerprint: str, config: EncoderConfig
) -> Launcher | None:
    """The launcher of a runtime on a GPU; None for every other."""
    if not isinstance(runtime, GpuRuntime):
        return None
    folder = engines_folder(config.cache_dir, fingerprint, runtime.device.card)
    asked = f"{runtime.name} {runtime.options.max_batch} {runtime.options.graphs}"
    return Launcher(runtime, finish, note_in(folder, "largest", asked), config.max_batch or None)


@lru_cache
def _decoder_of(torch_name: str) -> BatchJpegDecoder | None:
    return find_decoder(torch.device(torch_name), _as_jpeg(parity.images(1)[0]))


def _as_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_PROBE_QUALITY)
    return buffer.getvalue()


def _is_close(tower: Tower, runtime: GpuRuntime) -> bool:
    """Whether the device resizes as the checkpoint's processor does. A decoder that strays is given up."""
    photos = parity.images(PARITY_IMAGES)
    pixels: list[Rgb] = [np.array(photo) for photo in photos]
    found = tower.finish(runtime.launch(pixels).result())
    reference = tower.finish(runtime.run(np.stack([tower.prepare(photo) for photo in photos])))
    if not _agree(reference, found, "resizing on the device"):
        return False
    if runtime.options.decoder is not None:
        files = [_as_jpeg(photo) for photo in photos]
        encoded = [EncodedJpeg(file, *photo.size, 1) for file, photo in zip(files, photos, strict=True)]
        reference = tower.finish(runtime.launch([decode_encoded(file) for file in encoded]).result())
        found = tower.finish(runtime.launch(encoded).result())
        if not _agree(reference, found, f"decoding by {runtime.options.decoder.name}"):
            runtime.give_up_decoding()
    return True


def _agree(reference: Vectors, found: Vectors, what: str) -> bool:
    close = parity.compare(reference, found)
    if close.is_close:
        return True
    log.warning(
        "%s is not used: its vectors have a least cosine of %.4f and a mean of %.4f to those of the CPU's pixels.",
        what.capitalize(),
        close.least,
        close.mean,
    )
    return False
