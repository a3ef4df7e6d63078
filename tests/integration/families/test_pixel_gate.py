"""A checkpoint's images: prepared the fast way where that is exact, by its own processor where it is not."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.families import FAMILIES
from app.families import hugging_face_encoder as hugging_face
from app.families.encoders import load_encoder, resolve
from app.families.lite import encoder as lite
from app.inference.preprocessing import of_processor
from app.inference.protocols import min_decoded_side
from app.inference.resizing import normalise
from app.inference.runtimes import parity
from app.inference.sources import CHECKPOINTS, EncoderConfig
from tests.made_engines import link_engines

TINY = CHECKPOINTS / "clip-tiny"


def config_in(folder: Path) -> EncoderConfig:
    return EncoderConfig("cpu", "onnx", False, 0.99, 0, folder, allow_downloads=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-tiny", "lite"])
def test_training_sees_the_pixels_that_are_served(name: str, tmp_path: Path) -> None:
    config = config_in(link_engines(tmp_path))
    encoder = load_encoder(resolve(name), config)
    tower = FAMILIES.get(encoder.family).image_tower(resolve(name), config)
    for image in parity.images(4, parity.MIXED):
        served = encoder.preprocess(np.array(image))
        assert served.dtype == np.uint8
        steps = lite.STEPS if name == "lite" else of_processor(hugging_face.open_processor(TINY))
        assert steps is not None
        np.testing.assert_array_equal(normalise(served, steps), tower.preprocess(image))


@pytest.mark.slow
def test_steps_that_are_not_those_of_the_checkpoint_are_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app")  # whatever a service in this process has set
    plain = load_encoder(resolve("clip-tiny"), config_in(tmp_path))
    own = of_processor(hugging_face.open_processor(TINY))
    assert own is not None
    monkeypatch.setattr(
        hugging_face, "of_processor", lambda processor: replace(own, shortest_edge=128, mean=(0.1, 0.5, 0.9))
    )
    strayed = load_encoder(resolve("clip-tiny"), config_in(tmp_path))
    note = strayed.optimisation.note  # type: ignore[attr-defined]
    assert "prepared by its own processor, which is slower" in note
    assert note in caplog.text
    assert min_decoded_side(strayed) is None
    images = parity.images(3, parity.MIXED)
    vectors = [
        encoder.encode_images(np.stack([encoder.preprocess(image) for image in images]))
        for encoder in (plain, strayed)
    ]
    assert parity.compare(*vectors).least >= 0.999
    assert strayed.fingerprint == plain.fingerprint


@pytest.mark.slow
def test_a_processor_with_other_steps_is_served_as_it_is(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "padded"))
    file = folder / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["image_processor"]["size"] = {"shortest_edge": 64, "longest_edge": 80}
    file.write_text(json.dumps(settings))
    encoder = load_encoder(resolve(str(folder)), config_in(tmp_path))
    pixels = encoder.preprocess(np.array(Image.new("RGB", (90, 70), "red")))
    assert (pixels.dtype, pixels.shape) == (np.float32, (3, 64, 64))
    assert encoder.encode_images(pixels[None]).shape == (1, encoder.dim)
    assert "own processor" in encoder.optimisation.note  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_encoder(resolve("clip-tiny"), config_in(tmp_path))
    monkeypatch.setattr(parity, "images", lambda *args: pytest.fail("measured again"))
    again = load_encoder(resolve("clip-tiny"), config_in(tmp_path))
    assert min_decoded_side(again) == min_decoded_side(first)
    assert min_decoded_side(first) in (160, 256, None)
