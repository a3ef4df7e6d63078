"""CPU milliseconds from a JPEG to a model's input: Pillow and the checkpoint's own processor against what is served.

python -m benchmarks.pixels [MODEL ...]; the two ways take turns, so that neighbours disturb both alike.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.families import FAMILIES
from app.families.encoders import load_encoder, resolve
from app.families.hugging_face_encoder import open_processor, prepare_by_processor
from app.families.lite.encoder import prepare_by_pillow
from app.inference.protocols import min_decoded_side
from app.inference.runtimes import parity
from app.inference.sources import EncoderConfig
from app.media.images import ImageLimits, decode, decode_pixels

TURNS, REPEATS = 7, 20


def cpu_ms(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The best CPU time of each, this process's threads together."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.process_time()
            for _ in range(REPEATS):
                way()
            best[name] = min(best[name], 1e3 * (time.process_time() - began) / REPEATS)
    return best


def main() -> None:
    file = io.BytesIO()
    parity.images(1, ((480, 640),))[0].save(file, "JPEG", quality=85)
    data, limits = file.getvalue(), ImageLimits()
    with tempfile.TemporaryDirectory() as folder:
        config = EncoderConfig("cpu", "auto", True, 0.99, 0, Path(folder), allow_downloads=False)
        for name in sys.argv[1:] or ["lite", "clip-tiny"]:
            encoder = load_encoder(resolve(name), config)
            source = FAMILIES.locate("encoder", resolve(name), config) if name != "lite" else None
            processor = None if source is None else open_processor(Path(source.location))
            side = min_decoded_side(encoder)
            picture, pixels = decode(data, limits), decode_pixels(data, limits, min_side=side)
            batch = np.repeat(encoder.preprocess(pixels)[None], 4, axis=0)

            def own(picture=picture, processor=processor):  # type: ignore[no-untyped-def]
                is_lite = processor is None
                return prepare_by_pillow(picture) if is_lite else prepare_by_processor(processor, picture)

            found = cpu_ms(
                {
                    "decode, Pillow": lambda: decode(data, limits),
                    "decode": lambda: decode_pixels(data, limits, min_side=side),  # noqa: B023
                    "prepare, own processor": own,
                    "prepare": lambda: encoder.preprocess(pixels),  # noqa: B023
                    "forward, a batch of 4": lambda: encoder.encode_images(batch),  # noqa: B023
                }
            )
            both = found["decode"] + found["prepare"]
            before = found["decode, Pillow"] + found["prepare, own processor"]
            lines = [f"{name}: {both / before:.2f} x of {before:.2f} ms before the forward"]
            sys.stdout.write("\n  ".join(lines + [f"{way}: {ms:.2f} ms" for way, ms in found.items()]) + "\n")


if __name__ == "__main__":
    main()
