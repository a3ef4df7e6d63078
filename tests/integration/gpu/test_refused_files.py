"""A JPEG that the device's decoder and the CPU refuse: the answer says which of several images it was."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from app.collections.embedding import ImageEmbedder
from app.http.spool import Entry, Spool
from app.inference.engine.interface import ServedEncoder
from app.inference.fair_semaphore import FairSemaphore
from app.inference.protocols import Rgb, Vectors
from app.inference.registry import ModelRegistry
from app.inference.runtimes import parity
from app.media.encoded import EncodedJpeg
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits
from app.observability.metrics import Metrics
from app.settings import Settings
from tests.engines import Squares, SquaresFamily, serve_registry


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


WHOLE, REFUSED = map(jpeg, parity.images(2))


class Launcher:
    """A device that refuses one file, which passed every check before decoding."""

    reads_jpeg, largest_batch = True, 4

    def launch(self, images: Sequence[Rgb | EncodedJpeg]) -> Any:
        for image in images:
            if isinstance(image, EncodedJpeg) and image.data == REFUSED:
                raise InvalidImageError
        found: Vectors = np.ones((len(images), 1), np.float32)
        return lambda: found

    def warm(self, on_largest: object) -> None:
        pass

    def settle(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


@pytest_asyncio.fixture(params=["in this process", "over a socket"])
async def live(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServedEncoder]:
    settings = Settings(data_dir=tmp_path / "data", device="cpu")
    encoder: Any = Squares(lambda _, numbers: numbers)
    encoder.launcher = Launcher()
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
        if request.param == "in this process":
            async with registry.encoder() as lent:
                yield lent
        else:
            async with serve_registry(registry, settings, pool) as (_, client), client.encoder() as lent:
                yield lent
        await registry.close()


async def test_the_refused_image_is_named(live: ServedEncoder, tmp_path: Path) -> None:
    assert live.reads_jpeg
    spool = Spool(tmp_path / "spool", 1 << 20)

    def entries(*files: bytes) -> list[Entry]:
        made = []
        for file in files:
            made.append(spool.open())
            made[-1].write(file)
        return made

    with ThreadPoolExecutor(2) as pool:
        embedder = ImageEmbedder(
            NoCache(),
            ImageLimits(),
            pool,
            Metrics(),
            FairSemaphore(4, 8),
            deadline_s=30,  # type: ignore[arg-type]
        )
        with pytest.raises(InvalidImageError, match=r"^Image 2 of 3: (?!Image)"):
            await embedder.embed("default", live, entries(WHOLE, REFUSED, WHOLE))
        with pytest.raises(InvalidImageError, match=r"^(?!Image \d)"):
            await embedder.embed("default", live, entries(REFUSED))
        found = await embedder.embed("default", live, entries(WHOLE, WHOLE))
        assert found.vectors.shape == (2, 1)


class NoCache:
    """Remembers nothing."""

    enabled = False

    async def get(self, key: str, hashes: Sequence[str], dim: int) -> list[None]:
        return [None] * len(hashes)

    async def put(self, key: str, vectors: object) -> None:
        pass
