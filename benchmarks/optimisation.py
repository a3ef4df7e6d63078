"""The levels of optimisation of lite and of a CLIP ViT-B/32, as ratios to eager float32 torch in the same run.

Knows encoders only; CLIP has random weights, which serve for speed and say little of how exact int8 or pruning is.

    python -m benchmarks.optimisation [--seconds 1] [--threads 1] [--only lite|clip]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from app.families.encoders import load_encoder, resolve
from app.inference import device
from app.inference.optimisation import AUTO, LEVELS
from app.inference.sources import EncoderConfig
from benchmarks.encoders import random_clip, rate

BATCHES = (1, 8)


def measure(title: str, name: str, cache: Path, seconds: float, threads: int, console: Console) -> None:
    """One table: a row a level."""
    encoders, started = {}, {}
    for level in (AUTO, *LEVELS):
        config = EncoderConfig(
            "cpu", "auto", True, 0.99, threads, cache / level, allow_downloads=False, optimisation=level
        )
        start = time.perf_counter()
        encoders[level] = load_encoder(resolve(name), config)
        first = time.perf_counter()
        encoders[level] = load_encoder(resolve(name), config)
        started[level] = (first - start, time.perf_counter() - first)
    table = Table(title=f"{title}: times eager float32, {device.threads(threads)} threads")
    shown = ("asked", "runs", "runtime", "at load", "least cosine", "first load s", "next load s")
    for column in (*shown, *(f"batch {n}" for n in BATCHES)):
        table.add_column(column)
    fastest: dict[tuple[str, int], float] = {}
    rng = np.random.default_rng(0)
    for count in BATCHES:
        pixels = rng.normal(size=(count, 3, 224, 224)).astype(np.float32)
        for _ in range(2):  # two turns each, so that a passing disturbance does not decide
            for level, encoder in encoders.items():
                encoder.encode_images(pixels)
                took = min(rate(encoder, pixels, seconds / 2))
                fastest[level, count] = min(fastest.get((level, count), float("inf")), took)
    for level, encoder in encoders.items():
        found = encoder.optimisation  # type: ignore[attr-defined]
        table.add_row(
            level,
            found.level,
            encoder.runtime,
            "" if found.speed_up is None else f"{found.speed_up:.2f}",
            "" if found.parity is None else f"{found.parity:.5f}",
            *(f"{value:.1f}" for value in started[level]),
            *(f"{fastest['none', n] / fastest[level, n]:.2f}" for n in BATCHES),
        )
    console.print(table)
    for level, encoder in encoders.items():
        if note := encoder.optimisation.note:  # type: ignore[attr-defined]
            console.print(f"{level}: {note}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each cell")
    parser.add_argument(
        "--threads", type=int, default=0, help="0: all cores; 1 where others use the cores, too"
    )
    parser.add_argument("--only", choices=("lite", "clip"))
    args = parser.parse_args()
    torch.set_num_threads(device.threads(args.threads))
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.only != "clip":
            measure("lite", "lite", folder / "lite-cache", args.seconds, args.threads, console)
        if args.only != "lite":
            clip = random_clip(folder / "clip-vit-b-32-random")
            measure("CLIP ViT-B/32", str(clip), folder / "clip-cache", args.seconds, args.threads, console)


if __name__ == "__main__":
    main()
