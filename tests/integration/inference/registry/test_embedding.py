"""Live encoders: batches, order, broken images, deadlines and remembered texts; the real default encoder end to end."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from app.families import FAMILIES
from app.inference.engine.interface import Engine
from app.inference.errors import (
    DeadlineExceededError,
)
from app.inference.live import LiveEncoder
from app.inference.protocols import Pixels, Rgb
from app.inference.registry import ModelRegistry
from app.inference.resizing import as_picture
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings
from tests.engines import until
from tests.integration.inference.registry.mean_colour import Loader, MeanColour, solid, waiting
from tests.made_engines import share_engines


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
        encoder.running.clear()
        running = asyncio.create_task(live.embed_images([solid("red")], deadline_s=20))
        await until(encoder.running.is_set)
        with pytest.raises(DeadlineExceededError):
            await live.embed_images([solid("red")] * 3, deadline_s=0.1)
        await until(lambda: waiting(registry) == 0)  # an engine drops by a clock of its own
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
    data_dir = share_engines(tmp_path_factory.mktemp("data"))
    settings = Settings(data_dir=data_dir, device="cpu", cpu_runtime="torch")
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


@pytest.mark.slow
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
