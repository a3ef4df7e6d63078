"""The JPEGs that are sent: real photos of one size."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.photos import photo

_NAMES = ("chelsea", "coffee", "rocket", "camera", "brick", "coins", "astronaut", "moon")


def pictures(count: int = 48, size: tuple[int, int] = (640, 480)) -> list[bytes]:
    """Distinct JPEGs of that size, cut from real photos."""
    files = []
    for index in range(count):
        whole = photo(_NAMES[index % len(_NAMES)])
        width, height = whole.size
        inset = 4 * (index // len(_NAMES))
        cut = whole.crop((inset, inset, width - inset, height - inset)).resize(size, Image.Resampling.BICUBIC)
        sink = io.BytesIO()
        cut.save(sink, "JPEG", quality=88)
        files.append(sink.getvalue())
    return files


def write_pictures(folder: Path, size: tuple[int, int], count: int = 48) -> Path:
    """The same as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(pictures(count, size)):
        (folder / f"{index:03}.jpg").write_bytes(data)
    return folder
