"""What every training script here shares: schedule, weight averaging, resumable state, atomic writes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

Loss = Callable[[int, torch.Generator], torch.Tensor]
"""Step and a seeded generator to the scalar loss of one fresh batch."""


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Courtesy:
    """Chooses how many threads to compute with: a core that other processes keep busy is left to them,
    since every parallel region would wait for the thread that shares it."""

    def __init__(self, limit: int, every: int = 8) -> None:
        self.limit, self.every = limit, every
        self.calls, self.busy, self.own, self.wall = 0, _busy_seconds(), time.process_time(), time.monotonic()

    def adjust(self) -> None:
        """Called once a step; looks every few calls at what others used since."""
        self.calls += 1
        if self.calls % self.every:
            return
        busy, own, wall = _busy_seconds(), time.process_time(), time.monotonic()
        others = max(0.0, (busy - self.busy) - (own - self.own)) / max(wall - self.wall, 1e-6)
        self.busy, self.own, self.wall = busy, own, wall
        torch.set_num_threads(max(1, min(self.limit, (os.cpu_count() or 1) - round(others))))


def _busy_seconds() -> float:
    """Processor seconds that the whole machine has spent; 0 where the system does not tell."""
    try:
        fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write to a temporary file beside `path`, flush it to disk, then rename it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Average:
    """Exponential moving average of a module's parameters, float32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, p in model.named_parameters():
            self.shadow[name].lerp_(p.detach(), 1 - decay)

    def copy_to(self, model: nn.Module) -> None:
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(self.shadow[name])


def train(
    model: nn.Module,
    loss_of: Loss,
    *,
    steps: int,
    state: Path,
    seed: int,
    peak: float,
    warmup: int = 100,
    decay: float = 0.05,
    average: float = 0.995,
    resume: bool = True,
    probe: Callable[[], str] | None = None,
    probe_every: int = 200,
    save_every: int = 100,
) -> float:
    """Run AdamW to `steps`, continuing from `state` if it is there; leaves the averaged weights in `model`.

    Returns the seconds spent training, earlier attempts included. Each step draws from a generator seeded
    by (seed, step), so a resumed run sees the batches an unbroken one would have seen.
    """
    # PyTorch's fused attention goes backward slowly on CPUs in bfloat16: plain attention halves a step
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("eager")
    trained = [p for p in model.parameters() if p.requires_grad]
    grouped = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(grouped, lr=peak, betas=(0.9, 0.98))
    mean = Average(model, average)
    first, spent, running = 0, 0.0, 0.0
    if resume and state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        mean.shadow = saved["average"]
        first, spent = saved["step"], saved["seconds"]
        print(f"resumed at step {first}", flush=True)
    courtesy = Courtesy(torch.get_num_threads())
    started = time.monotonic()
    model.train()
    for step in range(first, steps):
        courtesy.adjust()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, warmup)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = loss_of(step, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        mean.update(model, step)
        running = loss.item() if step == first else 0.95 * running + 0.05 * loss.item()
        seconds = spent + time.monotonic() - started
        last = step + 1 == steps
        if (step + 1) % 25 == 0 or last:
            print(json.dumps({"step": step + 1, "loss": round(running, 4), "s": round(seconds)}), flush=True)
        if (step + 1) % save_every == 0 or last:
            save_atomically(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": mean.shadow,
                    "step": step + 1,
                    "seconds": seconds,
                },
                state,
            )
        if probe and ((step + 1) % probe_every == 0 or last):
            plain = {name: p.detach().clone() for name, p in model.named_parameters()}
            mean.copy_to(model)
            model.eval()
            with torch.no_grad():
                print(f"step {step + 1}: {probe()}", flush=True)
            model.train()
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.copy_(plain[name])
    seconds = spent + time.monotonic() - started if first < steps else spent
    mean.copy_to(model)
    model.eval()
    return seconds
