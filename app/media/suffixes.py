"""Which files look like images by their names: one list for the command line and for datasets."""

from __future__ import annotations

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(
            ".tif",
            ".tiff",
            ".btf",
            ".avif",
            ".heic",
            ".heif",
            ".hif",
            ".jp2",
            ".j2k",
            ".jpf",
            ".jpx",
            ".j2c",
            ".jpc",
        ),
    }
)
"""In lower case. What the bytes are is found out when they are read (`app.media.kinds`)."""
