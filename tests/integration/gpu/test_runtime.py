"""Full-size pixels through the runtime of a GPU, on the CPU and on a pretended device that copies late."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.runtimes.gpu.runtime import GpuOptions, GpuRuntime
from app.inference.runtimes.gpu.staging import Staging, split
from app.inference.runtimes.gpu.streams import InOrder, Streams
from tests.pretended_device import LateStreams

WAY = Preprocessing((16, 16), shortest_edge=18, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
Images = list[NDArray[np.uint8]]


def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 6, 4, 4), torch.nn.ReLU(), torch.nn.Flatten()).eval()


def photos(*sizes: tuple[int, int]) -> Images:
    rng = np.random.default_rng(len(sizes))
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


MIXED = [(20, 30), (64, 48), (20, 30), (33, 19), (64, 48), (20, 30), (200, 150), (33, 19), (20, 31)]


def expected(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """One by one, without anything of the runtime but its resizing."""
    made = runtime(InOrder(torch.device("cpu")))
    rows = []
    for image in images:
        target = torch.empty((1, 3, 16, 16), dtype=torch.uint8)
        made._resizer.resize(torch.from_numpy(image.copy())[None], target)
        pixels = (target.float() / 255 - torch.tensor(WAY.mean).view(1, 3, 1, 1)) / torch.tensor(
            WAY.std
        ).view(1, 3, 1, 1)
        with torch.inference_mode():
            rows.append(tower()(pixels).numpy()[0])
    return np.stack(rows)


def runtime(streams: Streams, *, max_batch: int = 8, staging_bytes: int = 20_000) -> GpuRuntime:
    options = GpuOptions(max_batch, staging_bytes)
    return GpuRuntime(tower(), Device("cpu"), torch.float32, WAY, options, streams=streams)


STREAMS: dict[str, Callable[[], Streams]] = {
    "in order": lambda: InOrder(torch.device("cpu")),
    "late": LateStreams,
}


@pytest.fixture(params=STREAMS)
def streams(request: pytest.FixtureRequest) -> Streams:
    return STREAMS[request.param]()


def test_images_of_many_sizes_come_back_in_their_order(streams: Streams) -> None:
    images = photos(*MIXED)
    found = runtime(streams).launch(images).result()
    np.testing.assert_allclose(found, expected(images), atol=1e-4)


def test_batches_in_flight_do_not_disturb_one_another(streams: Streams) -> None:
    made = runtime(streams, max_batch=4)
    batches = [photos(*MIXED[start : start + 4]) for start in range(5)]
    pending = [made.launch(images) for images in batches]
    for images, launched in reversed(list(zip(batches, pending, strict=True))):
        np.testing.assert_allclose(launched.result(), expected(images), atol=1e-4)


def test_the_memory_of_images_is_free_once_they_are_launched(streams: Streams) -> None:
    images = photos(*MIXED)
    wanted = expected(images)
    launched = runtime(streams).launch(images)
    for image in images:
        image[...] = 0
    np.testing.assert_allclose(launched.result(), wanted, atol=1e-4)


def test_a_view_that_is_not_contiguous_is_read_as_it_looks(streams: Streams) -> None:
    image = photos((40, 60))[0]
    views = [image[::2, 5:55], image[:, ::-1]]
    found = runtime(streams).launch(views).result()
    np.testing.assert_allclose(found, expected(views), atol=1e-4)


def test_pixels_that_are_resized_already_give_the_same() -> None:
    made = runtime(LateStreams(), max_batch=2)
    images = photos((16, 16), (16, 16), (16, 16))
    way = Preprocessing((16, 16), fixed=(16, 16), mean=WAY.mean, std=WAY.std)
    other = GpuRuntime(tower(), Device("cpu"), torch.float32, way, GpuOptions(8), streams=LateStreams())
    prepared = np.stack([image.transpose(2, 0, 1) for image in images])
    np.testing.assert_allclose(made.run(prepared), other.launch(images).result(), atol=1e-5)


def test_an_upload_waits_for_what_still_reads_its_buffer() -> None:
    streams = LateStreams()
    made = runtime(streams)
    for _ in range(4):
        made.launch(photos(*MIXED)).result()
    seen: set[int] = set()
    for place, after in streams.uploads:
        assert (after is not None) == (place in seen)
        seen.add(place)
    assert len(seen) < len(streams.uploads) / 3, "buffers are used again and again"


def test_a_failure_leaves_the_runtime_usable(streams: Streams) -> None:
    made = runtime(streams)
    images = photos(*MIXED)
    with pytest.raises(ValueError, match="float64"):
        made.launch([images[0], np.zeros((4, 4, 3))])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="uint8"):
        made.launch([images[0][:, :, 0]])
    np.testing.assert_allclose(made.launch(images).result(), expected(images), atol=1e-4)


def test_memory_is_used_again(streams: Streams) -> None:
    made = runtime(streams)
    images = photos(*MIXED)
    for _ in range(20):
        made.launch(images).result()
    assert len(made._results) <= 2
    assert made._staging.nbytes <= 2 * (1 << 20)


def test_chunks_keep_to_their_bytes_and_group_sizes() -> None:
    images = photos(*MIXED)
    parts = list(split(images, 20_000))
    assert sorted(row for part in parts for rows in part for row in rows) == list(range(len(images)))
    for part in parts:
        sizes = [{images[row].shape for row in rows} for rows in part]
        assert all(len(shapes) == 1 for shapes in sizes)
        assert sum(images[row].size for rows in part for row in rows) <= 20_000 or len(part) == 1
    assert list(split([], 100)) == []


def test_one_image_larger_than_a_buffer_passes(streams: Streams) -> None:
    images = photos((300, 400), (20, 30))
    staging = Staging(streams, 1_000)
    seen: list[int] = []
    staging.feed(images, lambda chunk: seen.extend(row for group in chunk.groups for row in group.rows))
    assert sorted(seen) == [0, 1]
