"""easy-VQA's test images and what they show, for the tests of answers.

Knows the wheel's files; no image here was ever trained on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import easy_vqa
from PIL import Image


@cache
def questions() -> list[tuple[str, str, int]]:
    """(question, answer, image id) triples of the test split."""
    return list(zip(*easy_vqa.get_test_questions(), strict=True))


@cache
def paths() -> dict[int, Path]:
    """Image files by id."""
    return {number: Path(path) for number, path in easy_vqa.get_test_image_paths().items()}


def image(number: int) -> Image.Image:
    """One image, RGB."""
    with Image.open(paths()[number]) as file:
        return file.convert("RGB")


def data(number: int) -> bytes:
    """One image's file."""
    return paths()[number].read_bytes()


@cache
def list_shapes() -> dict[int, tuple[str, str]]:
    """(colour, shape) of the images whose questions tell both."""
    known: dict[int, dict[str, str]] = {}
    for question, answer, number in questions():
        if answer not in ("yes", "no"):
            known.setdefault(number, {})["color" if "color" in question else "shape"] = answer
    return {number: (facts["color"], facts["shape"]) for number, facts in known.items() if len(facts) == 2}
