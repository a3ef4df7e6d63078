"""Images a second of each runtime, as ratios to eager float32 torch in the same run: lite, and CLIP ViT-B/32.

Knows encoders only; CLIP has random weights, which serve for speed and say nothing about int8's exactness.

    python benchmarks/encoders.py [--seconds 2] [--only lite|clip]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families.encoders import load_encoder, resolve
from app.families.lite import efficientnet_lite, networks
from app.inference import device
from app.inference.protocols import Pixels
from app.inference.sources import EncoderConfig
from benchmarks.checkpoints import random_clip

BATCHES = (1, 8, 32)
CHOICES = {
    "torch": ("torch", False),
    "onnx, no int8": ("onnx", False),
    "onnx": ("onnx", True),
    "auto": ("auto", True),
}
"""Row -> the settings `cpu_runtime` and `int8`."""


class Eager:
    """The baseline: the module as it comes, float32, no tricks."""

    runtime = "torch float32 eager"

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def encode_images(self, pixels: Pixels) -> np.ndarray:
        with torch.inference_mode():
            return self.module(torch.from_numpy(pixels)).numpy()


class ClipImages(torch.nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = transformers.CLIPVisionModelWithProjection.from_pretrained(folder).eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixels).image_embeds


def rate(encoder: object, pixels: Pixels, seconds: float) -> list[float]:
    """Seconds of each pass, for at least three passes and `seconds`."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        encoder.encode_images(pixels)  # type: ignore[attr-defined]
        took.append(time.perf_counter() - start)
    return took


def measure(title: str, name: str, eager: Eager, cache: Path, seconds: float, console: Console) -> None:
    rows: dict[str, object] = {"eager": eager}
    started: dict[str, tuple[float, float]] = {}
    for row, (runtime, int8) in CHOICES.items():
        config = EncoderConfig("cpu", runtime, int8, 0.99, 0, cache / row, allow_downloads=False)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            rows[row] = load_encoder(resolve(name), config)
            times.append(time.perf_counter() - start)
        started[row] = (times[0], times[1])
    table = Table(title=f"{title}: images/s (times eager float32), {device.threads()} threads")
    for column in ("setting", "runtime", "first load s", "next load s", *(f"batch {n}" for n in BATCHES)):
        table.add_column(column)
    best: dict[tuple[str, int], float] = {}
    rng = np.random.default_rng(0)
    for count in BATCHES:
        pixels = rng.normal(size=(count, 3, 224, 224)).astype(np.float32)
        for encoder in rows.values():
            encoder.encode_images(pixels)  # type: ignore[attr-defined]
        for _ in range(2):  # two turns each, so that a passing disturbance does not decide
            for row, encoder in rows.items():
                found = count / min(rate(encoder, pixels, seconds / 2))
                best[row, count] = max(best.get((row, count), 0.0), found)
    for row, encoder in rows.items():
        cells = [f"{best[row, n]:.1f} ({best[row, n] / best['eager', n]:.1f}x)" for n in BATCHES]
        loads = [f"{value:.1f}" for value in started[row]] if row in started else ["", ""]
        table.add_row(row, encoder.runtime, *loads, *cells)  # type: ignore[attr-defined]
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each cell")
    parser.add_argument("--only", choices=("lite", "clip"))
    args = parser.parse_args()
    torch.set_num_threads(device.threads())
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.only != "clip":
            module: efficientnet_lite.EfficientNetLite0 = networks.read_weights(networks.weights_path())[0]
            measure("lite", "lite", Eager(module), folder / "lite-cache", args.seconds, console)
        if args.only != "lite":
            clip = random_clip(folder / "clip-vit-b-32-random")
            eager = Eager(ClipImages(clip))
            measure("CLIP ViT-B/32", str(clip), eager, folder / "clip-cache", args.seconds, console)


if __name__ == "__main__":
    main()
