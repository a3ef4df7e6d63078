"""Whether a checkpoint's images may be prepared the fast way: as 8-bit pixels, and from JPEGs decoded at a fraction.

Held against the checkpoint's own processor and measured once on a machine: the outcome lies beside the engines.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.inference import device as devices
from app.inference.aspect import bound_aspect
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Rgb, Vectors
from app.inference.resizing import normalise, resize
from app.inference.runtimes import parity
from app.inference.runtimes.notes import Note, engines_folder, note_in
from app.inference.runtimes.tower import Tower
from app.inference.sources import EncoderConfig
from app.media import jpeg

log = logging.getLogger(__name__)

IMAGES = 9
REDUCED_IMAGES = {2: 4, 4: 2}
"""Images tried at each scale that `app.media.jpeg.SCALES` has."""
MARGINS = (2.5, 4.0)
"""How many times the side that an image is resized to a reduced one has to keep; what is tried, in turn. At 2 `lite`
kept a mean cosine of 0.996 and `dinov2-tiny` one of 0.987 at worst."""
MAX_FORWARD_SECONDS = 2.0
"""Of one image in float32: where a model takes longer, the millisecond that reduced decoding spares is nothing."""
_NO_STEPS = "Its images are prepared by its own processor, whose steps have no faster equivalent here."


@dataclass(frozen=True)
class PixelParity:
    """What was found of one checkpoint."""

    is_fast: bool
    """Whether 8-bit pixels may be resized here and normalised beside the weights."""
    mean: float = 1.0
    least: float = 1.0
    """Cosines of that to the own processor."""
    min_decoded_side: int | None = None
    """See `app.inference.protocols.Reducing`."""

    @property
    def remark(self) -> str | None:
        """What people should know of it."""
        if self.is_fast:
            return None
        if self.mean == 1.0:
            return _NO_STEPS
        return (
            f"Its images are prepared by its own processor, which is slower: with 8-bit pixels the cosine was "
            f"{self.mean:.4f} on average and {self.least:.4f} at worst, of {parity.MIN_MEAN_COSINE:g} and "
            f"{parity.MIN_COSINE:g} asked for."
        )


def tower_parity(tower: Tower, config: EncoderConfig, place: devices.Device) -> PixelParity:
    """`pixel_parity` of a tower, in float32 torch on the device that it will run on."""
    made: list[torch.nn.Module] = []

    def vectors(pixels: Pixels) -> Vectors:
        if not made:
            made.append(tower.build().to(place.torch_name))
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(place.torch_name)
            features: Vectors = made[0](batch).float().cpu().numpy()
        return tower.finish(features)

    note = pixel_note(config.cache_dir, tower.fingerprint, tower.steps)
    return pixel_parity(tower.steps, tower.prepare, vectors, note)


def pixel_note(cache_dir: Path, fingerprint: str, steps: Preprocessing | None) -> Note:
    """Where the outcome for an encoder is kept."""
    gate = f"{parity.MIN_MEAN_COSINE} {parity.MIN_COSINE}"
    asked = f"{steps} {gate} {IMAGES} {REDUCED_IMAGES} {MARGINS} {MAX_FORWARD_SECONDS}"
    return note_in(engines_folder(cache_dir, fingerprint), "pixels", asked)


def pixel_parity(
    steps: Preprocessing | None,
    own: Callable[[Image.Image], Pixels],
    vectors: Callable[[Pixels], Vectors],
    note: Note,
) -> PixelParity:
    """What was found before, or is found now; blocks for some forward passes then.

    `own` prepares an image by the checkpoint's processor; `vectors` turns normalised float32[n, 3, h, w] into unit
    vectors.
    """
    if steps is None:
        return PixelParity(is_fast=False)
    try:
        return PixelParity(**note.read())
    except TypeError:  # not measured yet
        pass
    found = _measure(steps, own, vectors)
    if found.remark is not None:
        log.warning("%s", found.remark)
    note.write(asdict(found))
    return found


def _measure(
    steps: Preprocessing, own: Callable[[Image.Image], Pixels], vectors: Callable[[Pixels], Vectors]
) -> PixelParity:
    images = parity.images(IMAGES, parity.MIXED)
    prepared = np.stack([own(image) for image in images])
    began = time.perf_counter()
    reference = vectors(prepared)
    forward_s = (time.perf_counter() - began) / IMAGES
    fast = parity.compare(reference, vectors(np.stack([_fast(np.array(image), steps) for image in images])))
    if not fast.is_close:
        return PixelParity(False, fast.mean, fast.least)
    side = _decodable(steps, own, vectors) if forward_s <= MAX_FORWARD_SECONDS else None
    return PixelParity(True, fast.mean, fast.least, side)


def _decodable(
    steps: Preprocessing, own: Callable[[Image.Image], Pixels], vectors: Callable[[Pixels], Vectors]
) -> int | None:
    """The shorter side that a reduced image has to keep at least; None where none of those tried is enough.

    Images are tried at the very limit of each scale: of twice that side, decoded at a half, and so on.
    """
    for margin in MARGINS:
        side = round(margin * steps.resized_side)
        whole, reduced = [], []
        for factor in jpeg.SCALES:
            for image in parity.images(REDUCED_IMAGES[factor]):
                file = io.BytesIO()
                _enlarge(image, factor * side).save(file, "JPEG", quality=90)
                whole.append(own(Image.open(file)))
                pixels = jpeg.decode(file.getvalue(), (factor * side, round(factor * side * 1.3)), factor)
                if pixels is None:
                    raise RuntimeError("a JPEG that Pillow wrote could not be decoded")
                reduced.append(_fast(pixels, steps))
        found = parity.compare(vectors(np.stack(whole)), vectors(np.stack(reduced)))
        if found.is_close:
            return side
    return None


def _enlarge(image: Image.Image, side: int) -> Image.Image:
    """A larger image of the same detail: the image and its mirrored copies, 1.3 times `side` wide."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    rows, columns = np.arange(side) % (2 * height), np.arange(round(side * 1.3)) % (2 * width)
    rows, columns = np.minimum(rows, 2 * height - 1 - rows), np.minimum(columns, 2 * width - 1 - columns)
    return Image.fromarray(pixels[rows][:, columns])


def _fast(pixels: Rgb, steps: Preprocessing) -> Pixels:
    return normalise(resize(bound_aspect(pixels), steps), steps)
