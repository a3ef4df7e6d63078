"""JPEG files through a device's decoder, with simplejpeg in the place of one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Vectors
from app.inference.runtimes import parity
from app.inference.runtimes.gpu import runtime as runtimes
from app.inference.runtimes.gpu.jpegs import BatchJpegDecoder, find_decoder, upright
from app.inference.runtimes.gpu.runtime import GpuOptions, GpuRuntime
from app.media import images
from app.media.encoded import EncodedJpeg, as_encoded_jpeg
from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.images import ImageLimits
from tests.pretended_device import Decoder, LateStreams

LIMITS = ImageLimits()
WAY = Preprocessing((16, 16), shortest_edge=18)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image, exif=exif)


def encoded(data: bytes) -> EncodedJpeg:
    found = as_encoded_jpeg(data, LIMITS)
    assert found is not None
    return found


def on_cpu(data: bytes) -> np.ndarray:
    return np.array(images.decode(data, LIMITS))


def runtime(decoder: BatchJpegDecoder) -> GpuRuntime:
    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 4, 4), torch.nn.ReLU(), torch.nn.Flatten()).eval()
    options = GpuOptions(8, 100_000, decoder=decoder)
    return GpuRuntime(tower, Device("cpu"), torch.float32, WAY, options, streams=LateStreams())


def assert_alike(found: Vectors, wanted: Vectors) -> None:
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosines.min() > 0.999


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    photos = parity.images(4)
    sizes = [(320, 320), (200, 120), (320, 320), (90, 150)]
    return [jpeg(photo.resize(size)) for photo, size in zip(photos, sizes, strict=True)]


def test_files_and_pixels_of_one_batch_come_back_in_their_order(files: list[bytes]) -> None:
    made = runtime(Decoder())
    pixels = [on_cpu(file) for file in files]
    mixed = [encoded(files[0]), pixels[1], encoded(files[2]), encoded(files[3]), pixels[0]]
    found = made.launch(mixed).result()
    assert_alike(found, made.launch([*pixels, pixels[0]]).result())


def test_a_file_that_the_device_refuses_is_decoded_on_the_cpu(files: list[bytes]) -> None:
    decoder = Decoder()
    decoder.refused = {files[1]}
    made = runtime(decoder)
    found = made.launch([encoded(file) for file in files]).result()
    assert_alike(found, made.launch([on_cpu(file) for file in files]).result())
    assert decoder.calls == [4, 1, 1, 1, 1]


def test_a_file_that_nobody_can_decode_is_refused_with_its_own_error(files: list[bytes]) -> None:
    broken = files[0][: files[0].index(b"\xff\xda")] + b"\xff\xd9"
    decoder = Decoder()
    decoder.refused = {broken}
    made = runtime(decoder)
    with pytest.raises(InvalidImageError):
        made.launch([encoded(files[1]), EncodedJpeg(broken, 320, 320, 1)])
    assert_alike(made.launch([encoded(files[1])]).result(), made.launch([on_cpu(files[1])]).result())


def test_lack_of_memory_is_no_files_fault(files: list[bytes]) -> None:
    decoder = Decoder()
    decoder.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        runtime(decoder).launch([encoded(file) for file in files])
    assert decoder.calls == [4]


def test_a_batch_is_decoded_in_parts_of_bounded_size(
    files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_DECODED_BYTES", 3 * 320 * 320)
    decoder = Decoder()
    made = runtime(decoder)
    found = made.launch([encoded(file) for file in files]).result()
    assert_alike(found, made.launch([on_cpu(file) for file in files]).result())
    assert decoder.calls == [1, 1, 1, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(orientation: int) -> None:
    data = turned(parity.images(1)[0].crop((0, 0, 120, 80)), orientation)
    file = encoded(data)
    assert file.turn == orientation
    stored = torch.from_numpy(simplejpeg.decode_jpeg(data, "RGB")).permute(2, 0, 1)
    seen = upright(stored, file.turn).permute(1, 2, 0).numpy()
    wanted = on_cpu(data)
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).mean() < 2


def test_only_whole_baseline_files_go_to_the_device() -> None:
    photo = parity.images(1)[0]
    data = jpeg(photo)
    assert as_encoded_jpeg(jpeg(photo.convert("L")), LIMITS) is not None
    png = io.BytesIO()
    photo.save(png, "PNG")
    for other in (
        jpeg(photo, progressive=True),
        jpeg(photo.convert("CMYK")),
        jpeg(photo, keep_rgb=True),
        data[:-2],
        png.getvalue(),
        b"",
        b"\xff\xd8\xff",
    ):
        assert as_encoded_jpeg(other, LIMITS) is None


def test_the_limits_hold_before_the_device_sees_a_file() -> None:
    data = jpeg(parity.images(1)[0])
    with pytest.raises(ImageTooLargeError):
        as_encoded_jpeg(data, ImageLimits(max_pixels=320 * 320 - 1))
    found = as_encoded_jpeg(data, ImageLimits(max_pixels=320 * 320))
    assert found == EncodedJpeg(data, 320, 320, 1)


def test_no_decoder_is_looked_for_without_cuda() -> None:
    assert find_decoder(torch.device("cpu"), b"") is None
