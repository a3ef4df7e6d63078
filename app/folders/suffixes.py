"""Which files look like images by their names: one list for the command line and for datasets."""

from __future__ import annotations

_NAMES = (
    "jpg jpeg jpe jfif jif png apng webp gif bmp dib tif tiff btf avif heic heif hif jp2 j2k jpf jpx j2c jpc"
)
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
"""In lower case. What the bytes are is found out when they are read (`app.media.kinds`)."""
