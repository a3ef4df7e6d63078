"""The exported runner's own preprocessing: the pixels that the service's models are given, without transformers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil

from app.families.hugging_face_training import preprocessing
from app.inference.aspect import bound_aspect
from app.media import images
from app.media.images import ImageLimits
from workers.exporting.answer import Model

FIXED: dict[str, Any] = {"size": {"height": 64, "width": 48}, "do_center_crop": False}
CROPPED: dict[str, Any] = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


@pytest.mark.parametrize("steps", [FIXED, CROPPED])
@pytest.mark.parametrize(
    ("image", "form"),
    [
        (noise(90, 61), "PNG"),
        (noise(61, 90), "JPEG"),
        (noise(1500, 30), "PNG"),
        (noise(20, 900), "PNG"),
        (noise(40, 30, "RGBA"), "PNG"),
        (noise(40, 30, "L"), "PNG"),
        (noise(50, 50).quantize(8), "GIF"),
    ],
)
def test_the_runner_sees_what_the_model_sees(steps: dict[str, Any], image: Image.Image, form: str) -> None:
    processor = CLIPImageProcessorPil(**steps)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(file, form, **({"exif": exif} if form == "JPEG" else {}))
    limits = ImageLimits(max_pixels=10**7, max_side=10**4)
    served = bound_aspect(images.decode(file.getvalue(), limits, input_size=512))
    wanted = processor(images=served, return_tensors="np")["pixel_values"]

    runner = Model.__new__(Model)
    runner.steps = preprocessing(processor)
    with Image.open(file) as opened:
        found = runner.read_pixels(opened)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert found == pytest.approx(wanted, abs=1e-5)
