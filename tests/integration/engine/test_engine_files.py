"""JPEG files that go to the engine undecoded: the same vectors as of their pixels, in one process and over a socket."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.families import FAMILIES
from app.inference.registry import ModelRegistry
from app.inference.runtimes import parity
from app.media.encoded import EncodedJpeg, as_encoded_jpeg, decode_encoded
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits
from app.settings import Settings
from tests.engines import count_taken_bytes, serve_registry
from tests.made_engines import share_engines


async def test_a_file_has_the_vector_of_its_pixels_in_process_and_over_a_socket(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    parity.images(1)[0].save(buffer, "JPEG", quality=90)
    file = as_encoded_jpeg(buffer.getvalue(), ImageLimits())
    assert file is not None
    broken = EncodedJpeg(file.data[: file.data.index(b"\xff\xda")] + b"\xff\xd9", 320, 320, 1)
    settings = Settings(data_dir=share_engines(tmp_path), device="cpu", threads=1)
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, FAMILIES, pool=pool)
        async with serve_registry(registry, settings, pool) as (_, client):
            for engine in (registry, client):
                async with engine.encoder("clip-tiny") as live:
                    assert not live.reads_jpeg
                    rows = await live.embed_images([decode_encoded(file), file, lambda: file], deadline_s=60)
                    np.testing.assert_allclose(rows[1:], rows[[0, 0]], atol=1e-5)
                    with pytest.raises(InvalidImageError):
                        await live.embed_images([broken], deadline_s=60)
            assert count_taken_bytes(client) == 0
        await registry.close()
