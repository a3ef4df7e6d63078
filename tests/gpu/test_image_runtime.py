"""Encoders on a CUDA device: the same vectors as on the CPU, whatever runs beside whatever."""

from __future__ import annotations

import asyncio
import io
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.families.encoders import load_encoder, resolve
from app.inference.device import Device
from app.inference.errors import OutOfMemoryError
from app.inference.pipeline import PipelinedBatcher
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Encoder, ImageLauncher, Launching, Vectors
from app.inference.runtimes import parity
from app.inference.runtimes.gpu.jpegs import find_decoder
from app.inference.runtimes.gpu.runtime import GpuOptions, GpuRuntime
from app.inference.sources import EncoderConfig
from app.media.encoded import EncodedJpeg, as_encoded_jpeg, decode_encoded
from app.media.images import ImageLimits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NAMES = ("lite", "clip-tiny")
WAY = Preprocessing((64, 64), shortest_edge=64)
Rgb = NDArray[np.uint8]


class Tower(torch.nn.Module):
    """Some layers of the kinds that encoders have; `hungry` bytes an image come on top for a moment."""

    def __init__(self, hungry: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = torch.nn.Conv2d(3, 64, 16, 16)
        self.block = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
        self.hungry = hungry

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.hungry:
            torch.empty(len(pixels) * self.hungry, dtype=torch.uint8, device=pixels.device)
        return self.block(self.patches(pixels).flatten(2).transpose(1, 2)).mean(dim=1)


def runtime(
    max_batch: int = 64, *, graphs: bool = True, hungry: int = 0, staging_bytes: int = 2 << 20
) -> GpuRuntime:
    module = Tower(hungry).eval().requires_grad_(False)
    options = GpuOptions(max_batch, staging_bytes, graphs)
    return GpuRuntime(module, Device("cuda"), torch.float32, WAY, options)


@pytest.fixture
def made() -> Iterator[GpuRuntime]:
    opened = runtime()
    yield opened
    opened.close()


def photos(count: int, seed: int = 0) -> list[Rgb]:
    """Images of a few sizes, some of them large."""
    rng = np.random.default_rng(seed)
    sources = parity.images(4)
    sizes = [(320, 320), (640, 480), (97, 131), (1500, 1000), (224, 224)]
    return [np.array(sources[rng.integers(4)].resize(sizes[rng.integers(len(sizes))])) for _ in range(count)]


def unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def assert_alike(found: Vectors, wanted: Vectors, least: float = 0.9999) -> None:
    assert parity.compare(unit(found), unit(wanted)).least >= least


def config(folder: Path, device: str, **changes: object) -> EncoderConfig:
    level = "none" if device == "cpu" else "auto"
    values = dict(allow_downloads=False, optimisation=level, **changes)
    return EncoderConfig(device, "auto", True, 0.99, 0, folder, **values)  # type: ignore[arg-type]


def launcher_of(encoder: Encoder) -> ImageLauncher:
    assert isinstance(encoder, Launching)
    assert encoder.launcher is not None
    return encoder.launcher


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    images = [np.array(photo) for photo in parity.images(16)]
    on_cpu = load_encoder(resolve(name), config(tmp_path, "cpu"))
    wanted = on_cpu.encode_images(np.stack([on_cpu.preprocess(image) for image in images]))
    launcher = launcher_of(load_encoder(resolve(name), config(tmp_path, "cuda", gpu_decode="auto")))
    told = threading.Event()
    launcher.warm(lambda _: told.set())
    before = launcher.launch(images)()
    assert told.wait(120), "graphs and measuring never ended"
    after = launcher.launch(images)()
    launcher.close()
    for found in (before, after):
        close = parity.compare(wanted, found)
        assert close.least >= 0.99
        assert close.mean >= 0.998


def test_graphs_give_what_eager_runs_give(made: GpuRuntime) -> None:
    images = photos(64)
    wanted = made.launch(images).result()
    for size in (64, 16, 4, 1):
        made.record(size)
    assert made.forward.recorded == (1, 4, 16, 64)
    for count in (64, 40, 16, 13, 4, 3, 1):
        assert_alike(made.launch(images[:count]).result(), wanted[:count])


def test_recordings_share_memory_without_harm(made: GpuRuntime) -> None:
    for size in (64, 32, 8):
        made.record(size)
    images = photos(64)
    alone = {count: made.launch(images[:count]).result() for count in (64, 32, 8)}
    pending = [(count, made.launch(images[:count])) for count in (8, 64, 32, 8, 64, 8, 32)]
    for count, launched in pending:
        assert_alike(launched.result(), alone[count])


def test_many_batches_in_flight_while_graphs_are_recorded(made: GpuRuntime) -> None:
    """Images are overwritten the moment they are launched; two threads launch, a third records."""
    images = photos(24)
    wanted = np.concatenate([made.launch([image]).result() for image in images])
    failures: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            chosen = rng.integers(0, len(images), rng.integers(1, 40))
            batch = [images[i].copy() for i in chosen]
            launched = made.launch(batch)
            for image in batch:
                image[...] = 0
            close = parity.compare(unit(launched.result()), unit(wanted[chosen]))
            if close.least < 0.9999:
                failures.append(f"cosine {close.least} with {len(batch)} images")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for size in (64, 32, 16, 8, 4, 2, 1):
        made.record(size)
    for thread in threads:
        thread.join()
    assert failures == []


def test_images_of_extreme_sizes_pass(made: GpuRuntime) -> None:
    images = [np.full((side, 40, 3), 90, np.uint8) for side in (40, 8_000)]
    images.append(np.full((6_000, 6_500, 3), 90, np.uint8))
    found = made.launch(images).result()
    assert_alike(found, np.repeat(found[:1], 3, axis=0))


async def test_a_full_device_halves_the_batch() -> None:
    made = runtime(16, graphs=False, hungry=256 << 20)
    free, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + (5 * 256 << 20) + (128 << 20)
    if free < 6 * 256 << 20:
        pytest.skip("the device has too little free memory")
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    batcher: PipelinedBatcher[Rgb, Vectors] = PipelinedBatcher(
        "hungry",
        lambda _, images: list(made.launch(images).result()),
        lambda _, images: made.launch(images).result,
        max_batch=8,
        max_queue=64,
    )
    try:
        rows = await batcher.submit_many("image", photos(8))
        assert len(rows) == 8
        assert batcher.stats().max_batch == 4
        made._module.hungry = 64 << 30  # type: ignore[assignment]
        with pytest.raises(OutOfMemoryError):
            await batcher.submit("image", photos(1)[0])
        made._module.hungry = 0  # type: ignore[assignment]
        assert len(await batcher.submit_many("image", photos(4))) == 4
    finally:
        await asyncio.to_thread(batcher.close)
        torch.cuda.set_per_process_memory_fraction(1.0)
        made.close()


def test_decoding_on_the_device_gives_the_pixels_of_the_cpu(made: GpuRuntime) -> None:
    sources = parity.images(6)
    files: list[EncodedJpeg] = []
    for turn, photo in enumerate(sources, start=3):
        exif = Image.Exif()
        exif[0x0112] = turn
        buffer = io.BytesIO()
        photo.resize((301, 200)).save(buffer, "JPEG", quality=92, exif=exif)
        found = as_encoded_jpeg(buffer.getvalue(), ImageLimits())
        assert found is not None
        files.append(found)
    decoder = find_decoder(torch.device("cuda:0"), files[0].data)
    if decoder is None:
        pytest.skip("no library that decodes JPEGs on the device is installed")
    made.options = GpuOptions(64, decoder=decoder)
    wanted = made.launch([decode_encoded(file) for file in files]).result()
    for _ in range(20):
        assert_alike(made.launch(files).result(), wanted, 0.999)
    broken = EncodedJpeg(files[0].data[:400] + files[0].data[500:], 301, 200, 1)
    found = made.launch([files[1], broken, files[2]]).result() if _is_readable(broken) else None
    if found is not None:
        assert_alike(found[[0, 2]], wanted[[1, 2]], 0.999)


def _is_readable(file: EncodedJpeg) -> bool:
    try:
        decode_encoded(file)
    except Exception:
        return False
    return True


def test_memory_does_not_grow_over_a_thousand_batches(made: GpuRuntime) -> None:
    for size in (64, 32, 16, 8):
        made.record(size)
    images = photos(64)

    def run(batches: int) -> tuple[int, int]:
        pending = None
        for number in range(batches):
            launched = made.launch(images[: 1 + number % 64])
            if pending is not None:
                pending.result()
            pending = launched
        if pending is not None:
            pending.result()
        return torch.cuda.memory_reserved(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    run(100)
    device, host = run(100)
    later_device, later_host = run(1_000)
    assert later_device <= device + (8 << 20)
    assert later_host <= host + (64 << 10)


def test_how_many_images_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not judged: 640 x 480 from memory to vectors, two batches in flight."""
    image = np.array(parity.images(1)[0].resize((640, 480)))
    lines = []
    for name in NAMES:
        launcher = launcher_of(load_encoder(resolve(name), config(tmp_path, "cuda")))
        told = threading.Event()
        launcher.warm(lambda _, told=told: told.set())  # type: ignore[misc]
        assert told.wait(120)
        for count in (1, 32, 256):
            began, done = time.perf_counter(), 0
            with ThreadPoolExecutor(1) as collector:
                waiting = []
                while time.perf_counter() - began < 1.0:
                    waiting.append(collector.submit(launcher.launch([image] * count)))
                    done += count
                    if len(waiting) > 1:
                        waiting.pop(0).result()
                for future in waiting:
                    future.result()
            lines.append(f"{name} batch {count}: {done / (time.perf_counter() - began):.0f} images/s")
        launcher.close()
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}: " + "; ".join(lines))  # noqa: T201
