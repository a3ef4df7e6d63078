"""The registry and live encoders: shared loads, failures, eviction, and the real default encoder end to end.

Bookkeeping is driven with `MeanColour`, a small encoder that computes real vectors from pixels and letters in
numpy, so that loads take no time and memory can be chosen.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from app.errors import OverloadedError
from app.families import FAMILIES, Families
from app.inference.engine.interface import Engine
from app.inference.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    ModelUnavailableError,
    OutOfMemoryError,
)
from app.inference.live import LiveEncoder
from app.inference.protocols import Encoder, Pixels, Rgb, Vectors
from app.inference.registry import ModelRegistry
from app.inference.resizing import as_picture
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings
from tests.engines import count_taken_bytes, serve_registry, until

MIB = 1 << 20


class MeanColour:
    """Images by their mean colour, texts by their letters; both as unit rows of length 8."""

    family = "lite"
    dim = 8
    temperature = 10.0
    input_size = 8
    runtime = "numpy float32 cpu"

    def __init__(self, name: str, memory_bytes: int = 10 * MIB) -> None:
        self.name = name
        self.fingerprint = f"{sum(name.encode()):016x}"
        self.memory_bytes = memory_bytes
        self.text_calls: list[list[str]] = []
        self.image_batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        return np.asarray(as_picture(image).resize((8, 8)), np.float32).transpose(2, 0, 1) / 255

    def encode_images(self, pixels: Pixels) -> Vectors:
        self.gate.wait(20)
        self.image_batches.append(len(pixels))
        means = np.zeros((len(pixels), 8), np.float32)
        means[:, :3] = pixels.mean((2, 3))
        means[:, 3] = 0.01
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.text_calls.append(list(texts))
        rows = np.array([np.bincount([ord(c) % 8 for c in t] or [0], minlength=8) for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Loader:
    """Loads `MeanColour`, counting, and failing when told to."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.made: dict[str, MeanColour] = {}
        self.failures: list[Exception] = []
        self.memory: dict[str, int] = {}
        self.seconds = 0.02
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        self.loads.append(source.name)
        time.sleep(self.seconds)
        self.gate.wait(20)
        if self.failures:
            raise self.failures.pop()
        self.made[source.name] = MeanColour(source.name, self.memory.get(source.name, 10 * MIB))
        return self.made[source.name]


class Loading(Families):
    """The families of this process, whose encoders a loader makes."""

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Encoder:
        return self._loader(source, config)


def solid(colour: str) -> Image.Image:
    return Image.new("RGB", (40, 30), colour)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
async def registry(tmp_path: Path, pool: ThreadPoolExecutor, loader: Loader) -> AsyncIterator[ModelRegistry]:
    settings = Settings(data_dir=tmp_path, device="cpu", model_memory_mb=25, max_queue=64)
    made = ModelRegistry(settings, Loading(loader), pool=pool)
    yield made
    for encoder in loader.made.values():
        encoder.gate.set()
    await made.close()


@pytest.fixture(params=["in process", "over a socket"])
async def engine(
    request: pytest.FixtureRequest, registry: ModelRegistry, pool: ThreadPoolExecutor
) -> AsyncIterator[Engine]:
    """The registry itself, and as a front end has it."""
    if request.param == "in process":
        yield registry
        return
    async with serve_registry(registry, registry._settings, pool) as (server, client):
        yield client
        await until(lambda: all(session.held == (0, 0) for session in server.sessions))
        assert count_taken_bytes(client) == 0


def waiting(registry: ModelRegistry) -> int:
    """Items in the queues of the loaded models."""
    return sum(info.batches.queue_depth for info in registry.live() if info.batches is not None)


async def shows(engine: Engine, names: list[str]) -> None:
    """Those and no others are loaded: at once in one process; a front end is told soon."""
    if not isinstance(engine, ModelRegistry):
        await until(lambda: [info.name for info in engine.live()] == names)
    assert [info.name for info in engine.live()] == names


async def test_concurrent_first_callers_share_one_load(engine: Engine, loader: Loader) -> None:
    async def use() -> str:
        async with engine.encoder() as live:
            return live.key

    assert len(set(await asyncio.gather(*(use() for _ in range(20))))) == 1
    assert loader.loads == ["lite"]
    await shows(engine, ["lite"])


async def test_a_failed_load_is_everyones_error_and_the_next_try_loads(
    engine: Engine, loader: Loader
) -> None:
    loader.failures = [OSError("disk on fire")]

    async def use() -> str:
        async with engine.encoder("lite") as live:
            return live.key

    settled = await asyncio.gather(*(use() for _ in range(3)), return_exceptions=True)
    assert [type(s) for s in settled] == [ModelUnavailableError] * 3
    assert "fire" not in str(settled[0])
    assert (await use()).startswith("lite@")
    assert loader.loads == ["lite", "lite"]


async def test_a_load_that_runs_out_of_memory_says_so(engine: Engine, loader: Loader) -> None:
    loader.failures = [RuntimeError("CUDA out of memory")]
    with pytest.raises(OutOfMemoryError):
        async with engine.encoder("lite"):
            pass


async def test_a_caller_that_leaves_does_not_stop_the_load(engine: Engine, loader: Loader) -> None:
    loader.seconds = 0.2

    async def use() -> None:
        async with engine.encoder("lite"):
            pass

    first, second = asyncio.create_task(use()), asyncio.create_task(use())
    await until(lambda: loader.loads == ["lite"])
    first.cancel()
    await second
    assert loader.loads == ["lite"]


async def test_a_model_that_is_removed_while_it_loads_does_not_stay(
    engine: Engine, registry: ModelRegistry, loader: Loader, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')

    async def use() -> None:
        async with engine.encoder(str(folder)):
            pass

    for caller_stays in (True, False):
        loader.gate.clear()
        using = asyncio.create_task(use())
        await until(lambda: "gone" in loader.loads)
        if not caller_stays:
            using.cancel()
            await asyncio.wait([using])
        await engine.forget(str(folder))
        loader.gate.set()
        await asyncio.wait([using])
        await until(lambda: not registry._loads and not registry._trims)
        await shows(engine, [])
        loader.loads.clear()


async def test_an_unknown_name_is_not_found(engine: Engine) -> None:
    with pytest.raises(ModelNotFoundError):
        async with engine.encoder("no such encoder"):
            pass


async def test_the_least_recently_used_idle_model_makes_room(engine: Engine, loader: Loader) -> None:
    for name in ("org/one", "org/two", "org/one", "org/three"):
        async with engine.encoder(name):
            pass
    await shows(engine, ["three", "one"])
    assert "batcher-two" not in {thread.name for thread in threading.enumerate()}
    async with engine.encoder("org/two"):
        pass
    assert loader.loads == ["one", "two", "three", "two"]


async def test_a_model_in_use_is_never_evicted_and_the_surplus_goes_later(
    engine: Engine, loader: Loader
) -> None:
    async with engine.encoder("org/one") as one, engine.encoder("org/two") as two:
        async with engine.encoder("org/three") as three:
            assert {info.name for info in engine.live()} == {"one", "two", "three"}
            for live in (one, two, three):
                vectors = await live.embed_images([solid("red")], deadline_s=10)
                assert vectors.shape == (1, 8)
        await until(lambda: len(engine.live()) == 3)
    await until(lambda: len(engine.live()) == 2)
    assert loader.loads == ["one", "two", "three"]


async def test_a_model_larger_than_the_budget_is_served_alone(engine: Engine, loader: Loader) -> None:
    loader.memory["huge"] = 100 * MIB
    async with engine.encoder("lite"):
        pass
    async with engine.encoder("org/huge") as live:
        assert (await live.embed_texts(["a"], deadline_s=10)).shape == (1, 8)
    await shows(engine, ["huge"])
    async with engine.encoder("lite"):
        pass
    await shows(engine, ["lite"])


async def test_models_that_evict_each_other_still_serve_everyone(engine: Engine, loader: Loader) -> None:
    loader.memory = dict.fromkeys(("one", "two", "three"), 20 * MIB)

    async def use(name: str) -> None:
        for _ in range(3):
            async with engine.encoder(f"org/{name}") as live:
                await live.embed_images([solid("blue")], deadline_s=10)

    async with asyncio.timeout(20):
        await asyncio.gather(*(use(name) for name in ("one", "two", "three") for _ in range(2)))
    await until(lambda: len(engine.live()) == 1)


async def test_known_lists_the_default_and_aliases(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="openai/clip-vit-base-patch32")
    registry = ModelRegistry(settings, Loading(Loader()), pool=pool)
    known = {info.name: info for info in registry.list_models()}
    assert known["clip-vit-base-patch32"].aliases == ("openai/clip-vit-base-patch32",)
    assert known["clip-vit-base-patch32"].default
    assert not known["lite"].default
    assert not any(info.live for info in known.values())
    async with registry.encoder() as live:
        assert live.name == "clip-vit-base-patch32"
        info = next(info for info in registry.list_models() if info.live)
        assert (info.dim, info.memory_bytes, info.runtime, info.users) == (
            8,
            10 * MIB,
            "numpy float32 cpu",
            1,
        )
    await registry.close()


async def test_a_closed_registry_refuses(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    registry = ModelRegistry(Settings(data_dir=tmp_path, device="cpu"), Loading(Loader()), pool=pool)
    async with registry.encoder("lite") as live:
        pass
    await registry.close()
    with pytest.raises(OverloadedError):
        await live.embed_images([solid("red")], deadline_s=5)
    with pytest.raises(OverloadedError):
        async with registry.encoder("lite"):
            pass


async def test_observers_hear_of_loads_and_unloads(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    class Observer:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def model_loaded(self, model: str, load_s: float, memory_bytes: int) -> None:
            self.heard.append(f"loaded {model} {memory_bytes // MIB}")

        def model_load_failed(self, model: str, reason: str) -> None:
            self.heard.append(f"failed {model} {reason}")

        def model_unloaded(self, model: str) -> None:
            self.heard.append(f"unloaded {model}")

        def batch_ran(
            self, model: str, group: str, waits_s: Sequence[float], run_s: float, queue_depth: int
        ) -> None:
            self.heard.append(f"{group} {len(waits_s)}")

        def items_dropped(self, model: str, reason: str, count: int) -> None:
            self.heard.append(reason)

    observer, loader = Observer(), Loader()
    loader.failures = [ValueError()]
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, Loading(loader), pool=pool, observer=observer)
    with pytest.raises(ModelUnavailableError):
        async with registry.encoder("lite"):
            pass
    async with registry.encoder("lite") as live:
        await live.embed_texts(["a"], deadline_s=5)
    await registry.close()
    assert observer.heard == ["failed lite ValueError", "loaded lite 10", "text 1", "unloaded lite"]


async def test_batches_on_a_cpu_stay_small(engine: Engine, registry: ModelRegistry, loader: Loader) -> None:
    async with engine.encoder() as live:
        encoder = loader.made["lite"]
        encoder.gate.clear()
        running = [
            asyncio.create_task(live.embed_images([solid("red")] * 10, deadline_s=20)) for _ in range(3)
        ]
        await until(lambda: waiting(registry) >= 20)
        encoder.gate.set()
        await asyncio.gather(*running)
        assert max(encoder.image_batches) == 8


async def test_images_keep_their_order_and_makers_run_in_the_pool(engine: Engine) -> None:
    threads: set[str] = set()

    def make(colour: str) -> Image.Image:
        threads.add(threading.current_thread().name)
        return solid(colour)

    async with engine.encoder() as live:
        colours = ["red", "lime", "blue"] * 7
        vectors = await live.embed_images([partial(make, c) for c in colours], deadline_s=10)
        assert [int(row.argmax()) for row in vectors] == [0, 1, 2] * 7
        mixed = await live.embed_images([solid("lime"), partial(make, "red")], deadline_s=10)
        assert [int(row.argmax()) for row in mixed] == [1, 0]
        assert (await live.embed_images([], deadline_s=10)).shape == (0, 8)
    assert all(name.startswith("ThreadPoolExecutor") for name in threads)


async def test_one_broken_image_fails_its_request_and_no_other(engine: Engine) -> None:
    def broken() -> Image.Image:
        raise InvalidImageError

    async with engine.encoder() as live:
        good = asyncio.create_task(live.embed_images([solid("red")] * 5, deadline_s=10))
        with pytest.raises(InvalidImageError):
            await live.embed_images([solid("red"), broken, solid("blue")], deadline_s=10)
        assert (await good).shape == (5, 8)


async def test_a_request_past_its_deadline_stops_wherever_it_is(
    engine: Engine, registry: ModelRegistry, loader: Loader
) -> None:
    async with engine.encoder() as live:
        encoder = loader.made["lite"]
        encoder.gate.clear()
        running = asyncio.create_task(live.embed_images([solid("red")], deadline_s=20))
        with pytest.raises(DeadlineExceededError):
            await live.embed_images([solid("red")] * 3, deadline_s=0.1)
        assert waiting(registry) == 0
        encoder.gate.set()
        assert (await running).shape == (1, 8)


async def test_a_very_long_thin_image_costs_no_memory(registry: ModelRegistry) -> None:
    class Checked(MeanColour):
        def preprocess(self, image: Image.Image | Rgb) -> Pixels:
            size = as_picture(image).size
            assert max(size) <= 16 * min(size)
            return super().preprocess(image)

    with ThreadPoolExecutor(1) as pool:
        live = LiveEncoder(Checked("thin"), pool=pool, max_batch=2, max_queue=4, max_cached_texts=4)
        try:
            wide, tall = Image.new("RGB", (30_000, 1), "red"), Image.new("RGB", (3, 9_000), "blue")
            vectors = await live.embed_images([wide, tall], deadline_s=10)
            assert [int(row.argmax()) for row in vectors] == [0, 2]
        finally:
            await asyncio.to_thread(live.close)


async def test_repeated_texts_are_computed_once(engine: Engine, loader: Loader) -> None:
    async with engine.encoder() as live:
        encoder = loader.made["lite"]
        first = await live.embed_texts(["cat", "dog", "cat"], deadline_s=10)
        again = await live.embed_texts(["dog", "cat"], deadline_s=10)
        np.testing.assert_array_equal(first[[1, 0]], again)
        np.testing.assert_array_equal(first[0], first[2])
        assert sorted(text for call in encoder.text_calls[1:] for text in call) == ["cat", "dog"]
        assert (await live.embed_texts([], deadline_s=10)).shape == (0, 8)


async def test_more_texts_than_the_queue_holds_are_embedded_in_order(engine: Engine) -> None:
    texts = [f"label {n} {'x' * (n % 7)}" for n in range(500)]
    async with engine.encoder() as live:
        vectors = await live.embed_texts(texts, deadline_s=20)
        np.testing.assert_allclose(vectors, MeanColour("lite").encode_texts(texts), rtol=1e-6)


async def test_remembered_texts_are_bounded(pool: ThreadPoolExecutor) -> None:
    encoder = MeanColour("small")
    live = LiveEncoder(encoder, pool=pool, max_batch=8, max_queue=8, max_cached_texts=2)
    try:
        await live.embed_texts(["a", "b", "c"], deadline_s=10)
        encoder.text_calls.clear()
        await live.embed_texts(["a", "b", "c"], deadline_s=10)
        assert sum(len(call) for call in encoder.text_calls) == 1
    finally:
        await asyncio.to_thread(live.close)


@pytest.fixture(scope="module")
async def default_encoder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveEncoder]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu", cpu_runtime="torch")
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, FAMILIES, pool=pool)
        async with registry.encoder() as live:
            yield live
        await registry.close()


async def test_the_default_encoder_gives_one_image_the_same_vector_alone_and_in_a_batch(
    default_encoder: LiveEncoder,
) -> None:
    images = [Image.fromarray(photo) for photo in (photos.chelsea(), photos.coffee(), photos.rocket())]
    together = await default_encoder.embed_images(images, deadline_s=60)
    alone = [await default_encoder.embed_images([image], deadline_s=60) for image in images]
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)
    assert (together * np.concatenate(alone)).sum(1).min() > 0.999
    texts = await default_encoder.embed_texts(["a cat", "a rocket"], deadline_s=60)
    assert texts.shape == (2, default_encoder.dim)
    assert texts[0] @ together[0] > texts[1] @ together[0]


async def test_reduced_decoding_keeps_the_embedding(default_encoder: LiveEncoder) -> None:
    """Photographs and fine textures blown up to 5,000 pixels: cosine of at least 0.99 to the full decode."""
    cases = [(name, 3_000, "JPEG") for name in ("chelsea", "coffee", "rocket", "astronaut", "camera")]
    cases += [(name, 5_000, kind) for name in ("gravel", "grass") for kind in ("JPEG", "BMP")]
    size = default_encoder.min_decoded_side
    assert size is not None
    limits = ImageLimits()
    cosines = []
    for name, longest, kind in cases:
        image = Image.fromarray(getattr(photos, name)()).convert("RGB")
        factor = longest / max(image.size)
        large = image.resize(
            (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
        )
        buffer = io.BytesIO()
        large.save(buffer, kind)
        full = decode_pixels(buffer.getvalue(), limits)
        reduced = decode_pixels(buffer.getvalue(), limits, min_side=size)
        assert size <= min(reduced.shape[:2]) < min(full.shape[:2])
        vectors = await default_encoder.embed_images([full, reduced], deadline_s=60)
        cosines.append(float(vectors[0] @ vectors[1]))
    assert min(cosines) >= 0.99
