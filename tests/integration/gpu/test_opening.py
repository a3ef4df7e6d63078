"""From a tower to a live encoder on a device, with the CPU in its place: gates, pipeline, graphs in the background."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.families.encoders import load_encoder, resolve
from app.inference.device import Device
from app.inference.live import LiveEncoder
from app.inference.protocols import Launching, Vectors
from app.inference.runtimes import choice, offers, parity
from app.inference.runtimes.gpu import opening
from app.inference.runtimes.gpu.opening import gpu_runtime, launcher_of
from app.inference.runtimes.gpu.runtime import GpuRuntime
from app.inference.runtimes.levels import Ladder
from app.inference.runtimes.tower import Tower
from app.inference.sources import EncoderConfig
from app.media.encoded import EncodedJpeg, as_encoded_jpeg
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits
from tests.pretended_device import Decoder, SmallModule, small_tower, unit

CPU = Device("cpu")


def config_in(folder: Path, **changes: object) -> EncoderConfig:
    return EncoderConfig("cpu", "auto", True, 0.99, 1, folder, allow_downloads=False, **changes)  # type: ignore[arg-type]


class OnDevice:
    """An encoder whose image tower is on the pretended device."""

    name, family, temperature, fingerprint, input_size = "small", "small", 30.0, "small", 18

    def __init__(self, config: EncoderConfig) -> None:
        tower = small_tower()
        runtime = gpu_runtime(tower, config, CPU)
        assert runtime is not None
        self.images = runtime
        self.launcher = launcher_of(runtime, unit, "small", config)
        self.dim, self.memory_bytes = 54, runtime.memory_bytes
        self.preprocess = tower.preprocess

    @property
    def runtime(self) -> str:
        return self.images.label

    def encode_images(self, pixels: NDArray[np.uint8]) -> Vectors:
        return unit(self.images.run(pixels))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def served(encoder: OnDevice, pool: ThreadPoolExecutor) -> LiveEncoder:
    assert encoder.launcher is not None
    return LiveEncoder(
        encoder,
        pool=pool,
        max_batch=encoder.launcher.largest_batch,
        max_queue=64,
        max_cached_texts=0,
    )


def measured(folder: Path) -> bool:
    return any(folder.rglob("largest-*.json"))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


async def test_every_kind_of_image_becomes_the_vector_of_its_pixels(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    encoder = OnDevice(config_in(tmp_path))
    live = served(encoder, pool)
    photos = [photo.resize((60, 40)) for photo in parity.images(4)]
    thin = Image.new("RGB", (900, 4), "red")
    file = as_encoded_jpeg(jpeg(photos[2]), ImageLimits())
    assert file is not None
    given = [photos[0], np.array(photos[1]), file, lambda: np.array(photos[3]), thin]
    found = await live.embed_images(given, deadline_s=20)
    wanted = encoder.encode_images(np.stack([encoder.preprocess(photo) for photo in photos]))
    assert parity.compare(wanted, found[:4]).least > 0.99
    assert np.isfinite(found[4]).all()
    await asyncio.to_thread(live.close)


async def test_the_largest_batch_and_the_label_follow_what_was_measured(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    config = config_in(tmp_path)
    live = served(OnDevice(config), pool)
    end = time.monotonic() + 30
    while not measured(tmp_path):
        assert time.monotonic() < end, "nothing was measured"
        await asyncio.sleep(0.01)
    await asyncio.to_thread(live.close)
    again = served(OnDevice(config), pool)
    assert again.stats().max_batch == live.stats().max_batch
    await asyncio.to_thread(again.close)


async def test_a_number_in_the_settings_is_the_largest_batch(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    encoder = OnDevice(config_in(tmp_path, max_batch=5))
    live = served(encoder, pool)
    assert live.stats().max_batch == 5
    image = np.zeros((20, 20, 3), np.uint8)
    found = await live.embed_images([image] * 23, deadline_s=20)
    assert len(found) == 23
    assert live.stats().largest_batch <= 5
    await asyncio.to_thread(live.close)
    assert not measured(tmp_path)


def test_a_tower_that_the_device_would_feed_otherwise_is_left_to_its_processor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app")  # whatever a service in this process has set

    def odd(image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image.resize((16, 16)).convert("L"), np.float32)[None].repeat(3, 0) / 255

    assert gpu_runtime(small_tower(odd), config_in(tmp_path), CPU) is None
    assert "Resizing on the device is not used" in caplog.text


def test_a_tower_whose_steps_are_unknown_is_left_to_its_processor(tmp_path: Path) -> None:
    tower = small_tower()
    unknown = Tower(tower.fingerprint, tower.build, tower.prepare, tower.finish, tower.convolutional)
    assert gpu_runtime(unknown, config_in(tmp_path), CPU) is None


class Swapping(Decoder):
    """Mistakes red for blue."""

    def decode(self, files: list[bytes]) -> list[torch.Tensor]:  # type: ignore[override]
        return [planes.flip(0) for planes in super().decode(files)]


@pytest.mark.parametrize(("decoder", "is_used"), [(Decoder(), True), (Swapping(), False)])
def test_a_decoder_is_used_where_its_pixels_are_those_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: Decoder, is_used: bool
) -> None:
    monkeypatch.setattr(opening, "_decoder_of", lambda _: decoder)
    runtime = gpu_runtime(small_tower(), config_in(tmp_path, gpu_decode="auto"), CPU)
    assert runtime is not None
    assert runtime.reads_jpeg == is_used
    assert ("JPEG by stand-in" in runtime.label) == is_used


async def test_files_reach_the_devices_decoder_and_broken_ones_fail_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    decoder = Decoder()
    monkeypatch.setattr(opening, "_decoder_of", lambda _: decoder)
    encoder = OnDevice(config_in(tmp_path, gpu_decode="auto"))
    live = served(encoder, pool)
    assert live.reads_jpeg
    photo = parity.images(1)[0]
    file = as_encoded_jpeg(jpeg(photo), ImageLimits())
    assert file is not None
    broken = EncodedJpeg(file.data[: file.data.index(b"\xff\xda")] + b"\xff\xd9", 320, 320, 1)
    decoder.refused = {broken.data}
    calls = len(decoder.calls)
    tasks = [asyncio.create_task(live.embed_images([image], deadline_s=20)) for image in (file, broken, file)]
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, InvalidImageError)
    assert isinstance(first, np.ndarray)
    assert isinstance(third, np.ndarray)
    wanted = encoder.encode_images(encoder.preprocess(photo)[None])
    assert parity.compare(wanted, first).least > 0.99
    assert len(decoder.calls) > calls
    await asyncio.to_thread(live.close)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling changes nothing."""
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)


def test_a_compiled_model_sees_only_the_buckets(tmp_path: Path, uncompiled: None) -> None:
    seen: list[int] = []

    class Noting(SmallModule):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            seen.append(len(pixels))
            return super().forward(pixels)

    tower = replace(small_tower(), build=lambda: Noting().eval().requires_grad_(False))
    runtime = gpu_runtime(tower, config_in(tmp_path, max_batch=8), CPU, backend="inductor")
    assert runtime is not None
    images = [np.array(photo) for photo in parity.images(7)]
    wanted = runtime.launch(images).result()
    runtime.record(8)
    runtime.record(4)
    seen.clear()
    for count in (7, 5, 4, 3):
        found = runtime.launch(images[:count]).result()
        np.testing.assert_allclose(found, wanted[:count], atol=1e-5)
    assert set(seen) == {4, 8}
    assert "compiled by inductor" in runtime.label
    runtime.close()


def test_the_levels_of_a_gpu_take_full_size_images(tmp_path: Path, uncompiled: None) -> None:
    config = config_in(tmp_path, optimisation="standard")
    ladder = Ladder(small_tower(), config, CPU)
    ladder.offers = offers.CudaOffers(small_tower(), CPU, config)
    runtime, found = ladder.climb()
    assert isinstance(runtime, GpuRuntime)
    assert found.level == "standard"
    images = [np.array(photo) for photo in parity.images(3)]
    assert runtime.launch(images).result().shape == (3, 54)


async def test_an_encoder_of_hugging_face_is_served_by_the_device(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real checkpoint: what the choice for a GPU opens, on the CPU."""
    config = config_in(tmp_path, max_batch=8)
    plain = load_encoder(resolve("clip-tiny"), replace(config, optimisation="none"))
    monkeypatch.setattr(choice, "_running", choice.on_gpu)
    encoder = load_encoder(resolve("clip-tiny"), config)
    assert isinstance(encoder, Launching)
    assert encoder.launcher is not None
    live = LiveEncoder(encoder, pool=pool, max_batch=8, max_queue=64, max_cached_texts=4)
    photos = parity.images(8)
    found = await live.embed_images([np.array(photo) for photo in photos], deadline_s=60)
    wanted = plain.encode_images(np.stack([plain.preprocess(photo) for photo in photos]))
    close = parity.compare(wanted, found)
    assert close.least >= 0.99
    assert close.mean >= 0.998
    assert (await live.embed_texts(["a red circle"], deadline_s=60)).shape == (1, live.dim)
    await asyncio.to_thread(live.close)
