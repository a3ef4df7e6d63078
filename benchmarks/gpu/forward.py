"""The models alone: random pixels that lie on the device, nothing decoded, nothing copied back."""

from __future__ import annotations

import time
from statistics import median

import torch
import transformers

from benchmarks.checkpoints import random_clip
from benchmarks.gpu.plan import Plan, Recorder

BATCHES = (1, 32, 256)
TINY_BATCHES = (1, 8)


def dtype_of(device: str) -> torch.dtype:
    """What models run in there: bfloat16 on CUDA, float16 on Apple's GPUs, float32 on a CPU."""
    kind = device.partition(":")[0]
    return {"cuda": torch.bfloat16, "mps": torch.float16}.get(kind, torch.float32)


def synchronise(device: str) -> None:
    """Wait for all that the device was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def best_rate(tower: torch.nn.Module, batch: int, side: int, device: str, seconds: float) -> float:
    """Images a second: the median of at least five timed passes."""
    pixels = torch.randn(batch, 3, side, side, device=device, dtype=dtype_of(device))
    took: list[float] = []
    with torch.inference_mode():
        for _ in range(3):
            tower(pixels)
        synchronise(device)
        end = time.perf_counter() + seconds
        while len(took) < 5 or time.perf_counter() < end:
            begun = time.perf_counter()
            tower(pixels)
            synchronise(device)
            took.append(time.perf_counter() - begun)
    return batch / median(took)


def measure(plan: Plan, recorder: Recorder) -> None:
    """Both CLIPs at every batch size; the checkpoints stay for the sections that serve them."""
    batches = TINY_BATCHES if plan.tiny else BATCHES
    for name in ("clip-vit-b-32", "clip-vit-l-14"):
        shape = "clip-small" if plan.tiny else name
        folder = random_clip(plan.scratch / name, shape)
        load = transformers.CLIPVisionModelWithProjection.from_pretrained
        tower = load(folder, dtype=dtype_of(plan.device)).eval().to(plan.device)
        side = tower.config.image_size
        for batch in batches:
            rate = best_rate(tower, batch, side, plan.device, plan.seconds / 4)
            recorder.figure(f"{name} forward alone, batch {batch}", rate, "images/s")
        del tower
