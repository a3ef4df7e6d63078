"""Parity images and cosines."""

from __future__ import annotations

import numpy as np

from app.inference.runtimes import parity


def test_parity_images_are_the_same_each_time_and_differ_from_one_another() -> None:
    first, again = parity.images(4), parity.images(4)
    pixels = [np.asarray(image) for image in first]
    assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(pixels, again, strict=True))
    assert pixels[0].shape == (parity.SIDE, parity.SIDE, 3)
    assert all(image.std() > 15 for image in pixels)
    assert not np.array_equal(pixels[0], pixels[1])


def test_the_worst_image_is_reported() -> None:
    reference = np.eye(3, dtype=np.float32)
    other = reference.copy()
    other[2] = [1.0, 0.0, 0.0]
    found = parity.compare(reference, other)
    assert found.least == 0.0
    assert abs(found.mean - 2 / 3) < 1e-6


def test_a_vector_that_is_not_finite_fails() -> None:
    broken = np.full((1, 3), np.nan, np.float32)
    assert parity.compare(np.eye(1, 3, dtype=np.float32), broken).least == -1.0
