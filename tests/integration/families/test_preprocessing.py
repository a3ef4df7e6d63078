"""What a model is shown of an image: sizes, crops and padding as transformers' own processors make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from app.inference.preprocessing import BICUBIC, BILINEAR, Preprocessing, of_processor
from app.inference.resizing import normalise, resize_by_pillow, resize_by_torch

SIZES = [
    (1, 1),
    (1, 37),
    (37, 1),
    (2, 3),
    (16, 256),
    (255, 16),
    (31, 32),
    (33, 32),
    (63, 64),
    (64, 64),
    (65, 64),
    (99, 101),
    (353, 481),
    (480, 640),
    (481, 640),
    (639, 479),
    (1000, 70),
]
"""Height and width: thin ones, some that are scaled up, some that already have a model's size."""


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 10_000 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def processor(kind: str, **options: Any) -> Any:
    return getattr(transformers, kind)(**options)


PROCESSORS = {
    "clip": lambda: processor("CLIPImageProcessorPil"),
    "clip of another crop": lambda: processor(
        "CLIPImageProcessorPil", size={"shortest_edge": 57}, crop_size={"height": 51, "width": 44}
    ),
    "clip that pads": lambda: processor(
        "CLIPImageProcessorPil", size={"shortest_edge": 31}, crop_size={"height": 64, "width": 49}
    ),
    "siglip": lambda: processor("SiglipImageProcessorPil", size={"height": 48, "width": 48}),
    "siglip, not square, bilinear": lambda: processor(
        "SiglipImageProcessorPil", size={"height": 40, "width": 57}, resample=BILINEAR
    ),
    "dinov2": lambda: processor(
        "BitImageProcessorPil",
        size={"shortest_edge": 64},
        crop_size={"height": 56, "width": 56},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_checkpoints_own_processor(name: str) -> None:
    own = PROCESSORS[name]()
    steps = of_processor(own)
    assert steps is not None
    for size in SIZES:
        image = noise(*size)
        expected = own(images=image, do_rescale=False, do_normalize=False, return_tensors="np")
        np.testing.assert_array_equal(
            resize_by_pillow(np.asarray(image), steps), expected["pixel_values"][0], f"{size}"
        )


@pytest.mark.parametrize("name", PROCESSORS)
def test_normalising_is_one_multiply_and_add(name: str) -> None:
    own = PROCESSORS[name]()
    steps = of_processor(own)
    assert steps is not None
    image = noise(100, 90)
    expected = own(images=image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(normalise(resize_by_pillow(image, steps), steps), expected, atol=2e-6)


@pytest.mark.parametrize("name", PROCESSORS)
def test_torch_resizes_as_pillow_does_to_two_grey_levels(name: str) -> None:
    """Of grey levels that no filter overshoots: where both clip between their passes, the order of these shows."""
    steps = of_processor(PROCESSORS[name]())
    assert steps is not None
    for size in SIZES:
        image = 64 + np.asarray(noise(*size)) // 2
        resized = resize_by_torch(image, steps)
        assert resized is not None
        apart = np.abs(resized.astype(int) - resize_by_pillow(image, steps))
        assert apart.max() <= 2, size
        assert apart.mean() < 0.4, size


def test_only_what_torch_can_do_exactly_is_left_to_it() -> None:
    steps = of_processor(processor("CLIPImageProcessorPil", resample=Image.Resampling.LANCZOS))
    assert steps is not None
    assert resize_by_torch(np.asarray(noise(40, 40)), steps) is None
    middle = Preprocessing((32, 32), share=0.875, resample=BILINEAR)
    assert resize_by_torch(np.asarray(noise(101, 75)), middle) is None  # cut between two pixels
    for side in (16, 32):  # what is enlarged looks at pixels beyond the part that is cut out
        assert resize_by_torch(np.asarray(noise(side, side)), middle) is None
    whole = resize_by_torch(np.asarray(noise(480, 640)), middle)
    assert whole is not None
    apart = np.abs(whole.astype(int) - resize_by_pillow(noise(480, 640), middle))
    assert apart[:, 1:-1, 1:-1].max() <= 1


def test_a_part_of_an_image_is_resized_as_by_pillow_from_the_whole_of_it() -> None:
    steps = Preprocessing((32, 32), share=0.875, resample=BILINEAR)
    for size in SIZES:
        top, left, bottom, right = steps.geometry(*size).box
        expected = noise(*size).resize((32, 32), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
        apart = np.abs(
            resize_by_pillow(noise(*size), steps).transpose(1, 2, 0).astype(int) - np.asarray(expected)
        )
        assert apart.max() <= 1, size


def test_the_middle_of_an_image_is_cut_out_while_it_is_scaled() -> None:
    steps = Preprocessing((224, 224), share=0.875, resample=BILINEAR)
    assert steps.geometry(480, 640).box == (30.0, 110.0, 450.0, 530.0)
    assert steps.geometry(101, 75).box == pytest.approx((17.6875, 4.6875, 83.3125, 70.3125))
    assert steps.resized_side == 256


@pytest.mark.parametrize(
    "options",
    [
        {"size": {"shortest_edge": 64, "longest_edge": 100}},
        {"do_resize": False},
        {"do_center_crop": False},
        {"do_pad": True, "pad_size": {"height": 300, "width": 300}},
        {"image_mean": [0.5]},
    ],
    ids=str,
)
def test_what_a_processor_does_beyond_these_steps_is_left_to_it(options: dict[str, Any]) -> None:
    assert of_processor(processor("CLIPImageProcessorPil", **options)) is None


def test_a_processor_with_steps_of_its_own_is_left_to_itself() -> None:
    class Inverting(transformers.CLIPImageProcessorPil):
        def rescale(self, image: Any, scale: float, **options: Any) -> Any:
            return super().rescale(255 - image, scale, **options)

    assert of_processor(Inverting()) is None
    assert of_processor(processor("ConvNextImageProcessorPil")) is None


def test_an_image_is_resized_in_exactly_one_way() -> None:
    with pytest.raises(ValueError, match="one way"):
        Preprocessing((64, 64), resample=BICUBIC)
    with pytest.raises(ValueError, match="one way"):
        Preprocessing((64, 64), shortest_edge=64, share=0.5)
