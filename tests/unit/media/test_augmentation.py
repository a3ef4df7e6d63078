"""Augmented copies keep their size and stay near their example; what is switched off does not happen."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from skimage import data

from app.media.augmentation import OFF, AugmentationSettings, augment, contact_sheet

CAT = Image.fromarray(data.chelsea())


def off(**changed: object) -> AugmentationSettings:
    return AugmentationSettings.model_validate({**OFF.model_dump(), **changed})


def likeness(one: Image.Image, other: Image.Image) -> float:
    a, b = (np.asarray(image.convert("L").resize((32, 32)), float).ravel() for image in (one, other))
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize(
    "changed", [{"rotation": 30}, {"brightness": 0.5}, {"noise": 0.1}, {"crop": 0.4}, {"flip": True}]
)
def test_each_change_changes_the_picture_and_keeps_its_size(changed: dict[str, object]) -> None:
    copies = [augment(CAT, np.random.default_rng(seed), off(**changed)) for seed in range(4)]
    assert all(copy.size == CAT.size and copy.mode == "RGB" for copy in copies)
    assert len({copy.tobytes() for copy in copies}) > 1
    assert any(copy.tobytes() != CAT.tobytes() for copy in copies)


def test_nothing_happens_where_all_is_off() -> None:
    assert augment(CAT, np.random.default_rng(0), OFF).tobytes() == CAT.tobytes()


def test_the_defaults_never_mirror() -> None:
    mirrored = CAT.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for seed in range(20):
        copy = augment(CAT, np.random.default_rng(seed), AugmentationSettings())
        assert likeness(copy, CAT) > likeness(copy, mirrored)


def test_a_turned_picture_has_no_empty_corners() -> None:
    white = Image.new("RGB", (90, 40), "white")
    for seed in range(20):
        copy = np.asarray(augment(white, np.random.default_rng(seed), off(rotation=180)))
        assert copy.min() > 240


def test_a_seed_gives_one_copy() -> None:
    copies = {augment(CAT, np.random.default_rng(7), AugmentationSettings()).tobytes() for _ in range(3)}
    assert len(copies) == 1


def test_a_contact_sheet_shows_the_example_first() -> None:
    sheet = contact_sheet(Image.new("RGB", (50, 50), "blue"), 8, off(brightness=0.9), seed=1)
    assert sheet.getpixel((30, 30)) == (0, 0, 255)
    assert sheet.width == sheet.height
    assert len({sheet.getpixel((30 + 166 * x, 30 + 166 * y)) for x in range(3) for y in range(3)}) > 3


@pytest.mark.parametrize("wrong", [{"rotation": -1}, {"crop": 1.0}, {"brightness": 2}, {"zoom": 1}])
def test_what_would_lose_the_picture_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentationSettings.model_validate(wrong)
