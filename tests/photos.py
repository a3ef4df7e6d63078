"""Real photos from installed packages, and the damage that real photos meet.

Knows pixels only.
"""

from __future__ import annotations

import io
from pathlib import Path

import skimage.data
from PIL import Image, ImageEnhance

TAUGHT = {"cat": "chelsea", "cup of coffee": "coffee", "rocket": "rocket", "camera": "camera"}
"""Label -> the photo of scikit-image that shows it."""


def photo(name: str) -> Image.Image:
    """A photo of scikit-image as RGB."""
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def encode_photo(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The image as a file of that kind."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def damage_photo(image: Image.Image) -> dict[str, bytes]:
    """Versions of a photo that still show the same thing."""
    width, height = image.size
    crop = image.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10))
    return {
        "rotated": encode_photo(image.rotate(12, expand=True, fillcolor=(127, 127, 127))),
        "cropped": encode_photo(crop),
        "darkened": encode_photo(ImageEnhance.Brightness(image).enhance(0.5)),
        "jpeg": encode_photo(image, quality=12),
        "mirrored": encode_photo(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "shrunk": encode_photo(image.resize((width // 3, height // 3))),
    }


def save_photo(folder: Path, name: str) -> Path:
    """A photo as a file."""
    path = folder / f"{name}.jpg"
    path.write_bytes(encode_photo(photo(name), quality=92))
    return path
