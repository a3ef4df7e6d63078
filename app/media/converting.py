"""AVIF, HEIC and JPEG 2000: decoded in a process of its own with limits, never in the one that answers requests.

Their decoders are large and young, and a fault in one is a fault in the process that runs it. What comes back is the
same picture as JPEG, which goes the way of every other upload.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFile, features

from app.bounded import ChildLimits, run_bounded
from app.bounded.slots import RETRY_AFTER_SECONDS, TICK_SECONDS, Slots
from app.errors import OverloadedError
from app.media.errors import InvalidImageError
from app.media.kinds import NAMES
from app.media.modes import orientation, to_rgb
from app.media.safety import check_size, decoder_failures

CONVERTED = frozenset({"AVIF", "HEIC", "JPEG2000"})
"""The formats that are decoded here, by what `app.media.kinds.sniff` calls them."""
_MIB = 1 << 20
_QUALITY = 95
_OPEN_FILES = 64
_SAMPLE_BYTES = 3
_SLOTS = Slots("decoder")
_PIXEL_BYTES = 40
"""What decoding takes a pixel: measured on 40 megapixels, 41 for JPEG 2000 and 30 for AVIF and HEIC."""


@dataclass(frozen=True)
class DecoderLimits:
    """What a process that decodes one image may take."""

    memory_mb: int = 2_048
    seconds: float = 20.0
    """In all, and of CPU time."""
    at_once: int = 2
    """Such processes at the same time, for all of a service."""


def convert(
    data: bytes,
    kind: str,
    *,
    max_pixels: int,
    max_side: int,
    limits: DecoderLimits,
    deadline: float = math.inf,
    gone: threading.Event | None = None,
) -> bytes:
    """The first image of an AVIF, HEIC or JPEG 2000 file as upright JPEG of quality 95, without metadata. Blocks.

    Waits while as many others run as may, until `deadline`, a moment of `time.monotonic()`; `gone` ends it early.
    Raises InvalidImageError and ImageTooLargeError, CheckLimitError where decoding takes more than it may,
    OverloadedError where its turn did not come or the system ended it.
    """
    with (
        _SLOTS.hold(limits.at_once, deadline=deadline, gone=gone),
        tempfile.TemporaryDirectory(prefix="vision-decode-") as folder,
    ):
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(data)
        run_bounded(
            "app.media.converting:convert_request",
            {
                "source": str(source),
                "target": str(target),
                "kind": kind,
                "max_pixels": max_pixels,
                "max_side": max_side,
                "memory_bytes": limits.memory_mb * _MIB,
            },
            child_limits(max_pixels, limits),
            doing=f"Decoding the {NAMES.get(kind, kind)} image",
            gone=gone,
        )
        return target.read_bytes()


async def convert_async(
    data: bytes, kind: str, *, max_pixels: int, max_side: int, limits: DecoderLimits, wait_s: float
) -> bytes:
    """`convert` on threads of its own, so that waiting for it does not block other decoding. Cancelling it ends it.

    Raises OverloadedError where its turn does not come within `wait_s` seconds, and what `convert` raises.
    """
    deadline, gone, waiting = time.monotonic() + wait_s, threading.Event(), [data]

    def work_through() -> bytes:
        return convert(
            waiting.pop(),
            kind,
            max_pixels=max_pixels,
            max_side=max_side,
            limits=limits,
            deadline=deadline,
            gone=gone,
        )

    work = _threads(limits.at_once).submit(work_through)
    converted = asyncio.wrap_future(work)
    try:
        while not converted.done():
            await asyncio.wait({converted}, timeout=TICK_SECONDS)
            if time.monotonic() > deadline and work.cancel():  # it had not begun
                raise OverloadedError(retry_after_s=RETRY_AFTER_SECONDS)
        return converted.result()
    finally:
        gone.set()
        if not converted.cancel() and not converted.cancelled():
            converted.exception()  # seen, even where the caller was cancelled in the same moment
        waiting.clear()  # what was cancelled stands in the line until its turn


def child_limits(max_pixels: int, limits: DecoderLimits) -> ChildLimits:
    """What the process may take that decodes one image."""
    return ChildLimits(
        memory_bytes=limits.memory_mb * _MIB,
        cpu_seconds=max(1, round(limits.seconds)),
        wall_seconds=limits.seconds,
        open_files=_OPEN_FILES,
        file_bytes=_SAMPLE_BYTES * max_pixels + _MIB,
    )


def convert_request(
    source: str, target: str, kind: str, max_pixels: int, max_side: int, memory_bytes: int
) -> None:
    """Decode `source` and write `target`, as a bounded child is asked for it. Raises what `convert` raises, and
    MemoryError.
    """
    with decoder_failures(kind), Path(source).open("rb") as file, _open_image(file, kind) as image:
        width, height = image.size
        check_size(image.size, max_pixels, max_side)
        try:
            image.load()
            turn = orientation(image)
            upright = to_rgb(image)
            if turn is not None:
                upright = upright.transpose(turn)
            upright.save(target, "JPEG", quality=_QUALITY, subsampling=0)
        except (OSError, RuntimeError, ValueError) as error:
            # decoders call a lack of memory by any name
            if width * height * _PIXEL_BYTES > memory_bytes:
                raise MemoryError from error
            raise


def _open_image(file: Any, kind: str) -> ImageFile.ImageFile:
    """The image before decoding; imports the one decoder that is needed."""
    if kind == "HEIC":
        try:
            import pillow_heif
        except ImportError:
            raise _missing(kind, "install it by pip install 'llamafarm-vision[heif]'") from None
        pillow_heif.options.DECODE_THREADS = 1
        return pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    if kind == "AVIF":
        if not features.check("avif"):
            raise _missing(kind, "Pillow was built without it")
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        return AvifImagePlugin.AvifImageFile(file)
    if not features.check("jpg_2000"):
        raise _missing(kind, "Pillow was built without it")
    from PIL import Jpeg2KImagePlugin

    return Jpeg2KImagePlugin.Jpeg2KImageFile(file)


def _missing(kind: str, why: str) -> InvalidImageError:
    return InvalidImageError(
        f"This is {'a' if kind == 'JPEG2000' else 'an'} {NAMES.get(kind, kind)} image, for which this service has no"
        f" decoder ({why}): send a JPEG or PNG."
    )


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="convert")
