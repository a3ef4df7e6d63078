"""Which runtime an image tower gets: the fastest, measured once, that stays close enough to float32 torch."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import NamedTuple

import torch

from app.inference import device as devices
from app.inference.optimisation import AUTO, Optimisation
from app.inference.protocols import Pixels
from app.inference.runtimes import parity
from app.inference.runtimes.engines import (
    ONNX_FLOAT32,
    ONNX_INT8,
    PARITY_IMAGES,
    TORCH_BFLOAT16,
    TORCH_FLOAT32,
    CpuEngines,
    own_pixels_of,
    pixels_of,
    reference_of,
)
from app.inference.runtimes.gpu.opening import gpu_runtime
from app.inference.runtimes.levels import Ladder
from app.inference.runtimes.pixel_gate import tower_parity
from app.inference.runtimes.torch_runtime import TorchRuntime, cpu_computes_bfloat16
from app.inference.runtimes.tower import ImageRuntime, Tower
from app.inference.sources import EncoderConfig

log = logging.getLogger(__name__)

ROUNDS = 3
HOPELESS = 2.0
_LEVEL_OF = {
    TORCH_FLOAT32: "none",
    ONNX_FLOAT32: "basic",
    TORCH_BFLOAT16: "standard",
    ONNX_INT8: "aggressive",
}
"""What each runtime would have been called, had it been asked for."""


class Running(NamedTuple):
    """A runtime, and at which level it is."""

    runtime: ImageRuntime
    optimisation: Optimisation


class RunningTower(NamedTuple):
    """A tower that runs, and what is known of how."""

    runtime: ImageRuntime
    optimisation: Optimisation
    tower: Tower
    """It prepares images for the runtime: without `steps` where these are not exact enough."""
    min_decoded_side: int | None
    """See `app.inference.protocols.Reducing`."""


def choose(tower: Tower, config: EncoderConfig) -> RunningTower:
    """The tower, running. Blocks: seconds the first time on a machine, a fraction of one afterwards.

    `config.optimisation` other than `auto` climbs to that level (`app.inference.runtimes.levels`). With `auto`, on
    a GPU: torch in the dtype of the device. On CPU: the fastest candidate whose cosines to float32 torch on
    the parity images all reach `config.parity_cosine`; float32 torch where none does.

    Before that, what prepares its images is held against the checkpoint's own processor.
    """
    place = devices.parse(config.device)
    pixels = tower_parity(tower, config, place)
    if not pixels.is_fast:
        tower = replace(tower, steps=None)
    runtime, optimisation = _running(tower, config, place)
    said = " ".join(part for part in (optimisation.note, pixels.remark) if part)
    return RunningTower(runtime, replace(optimisation, note=said or None), tower, pixels.min_decoded_side)


def _running(tower: Tower, config: EncoderConfig, place: devices.Device) -> Running:
    if config.optimisation != AUTO:
        return Running(*Ladder(tower, config, place).climb())
    if place.kind != "cpu":
        return on_gpu(tower, config, place)
    return _CpuChoice(tower, config).choose()


def on_gpu(tower: Tower, config: EncoderConfig, place: devices.Device) -> Running:
    """The tower on a GPU, in the dtype of the device, fed with full-size pixels where that is as exact."""
    runtime: ImageRuntime | None = gpu_runtime(tower, config, place)
    if runtime is None:
        dtype = getattr(torch, place.dtype_name)
        runtime = TorchRuntime(
            tower.build(), place, dtype, channels_last=tower.convolutional, steps=tower.steps
        )
    return Running(runtime, Optimisation(AUTO, "basic"))


def candidates(tower: Tower, config: EncoderConfig) -> list[str]:
    """What is worth measuring on this CPU; `torch-float32` stays out, as the fallback of them all.

    For convolutions that is ONNX Runtime's float32 alone: int8 matrix products do not apply to them, and
    channels-last bfloat16 never came near (benchmarks/encoders.py).
    """
    onnx = [ONNX_FLOAT32]
    half = [TORCH_BFLOAT16] if cpu_computes_bfloat16() else []
    if config.cpu_runtime == "torch":
        return half
    if tower.convolutional:
        return onnx
    if config.int8:
        onnx.append(ONNX_INT8)
    return onnx if config.cpu_runtime == "onnx" else onnx + half


class _CpuChoice:
    def __init__(self, tower: Tower, config: EncoderConfig) -> None:
        self.tower = tower
        self.names = candidates(tower, config)
        self.parity_cosine = config.parity_cosine
        self.engines = CpuEngines(tower, devices.threads(config.threads), config.cache_dir)
        asked = f"{','.join(self.names)} {config.parity_cosine} {self.engines.threads}"
        self.note = self.engines.note("choice", asked)

    def choose(self) -> Running:
        torch.set_num_threads(self.engines.threads)
        name = self.note.read().get("runtime")
        if name in (*self.names, TORCH_FLOAT32):
            try:
                return self._as_chosen(str(name), self.engines.load(str(name)))
            except Exception:
                log.warning("The engine %s could not be used again; measuring anew.", name, exc_info=True)
        if self.names:
            return self._measure()
        return self._as_chosen(TORCH_FLOAT32, self.engines.load(TORCH_FLOAT32))

    def _as_chosen(self, name: str, runtime: ImageRuntime) -> Running:
        measured = self.note.read().get("measured")
        found = measured.get(name) if isinstance(measured, dict) else None
        least = found.get("least_cosine") if isinstance(found, dict) else None
        return Running(runtime, Optimisation(AUTO, _LEVEL_OF[name], parity=least))

    def _measure(self) -> Running:
        pixels = pixels_of(self.tower)
        reference = reference_of(self.tower, self.engines.build(), own_pixels_of(self.tower))
        running: dict[str, ImageRuntime] = {}
        measured: dict[str, dict[str, float]] = {}
        for name in self.names:
            try:
                runtime = self.engines.load(name)
                found = parity.compare(reference, self.tower.finish(runtime.run(pixels)))
            except Exception:  # a runtime this machine lacks, or a model it cannot express: the others remain
                log.warning("The runtime %s is not available for this model.", name, exc_info=True)
                continue
            measured[name] = {"mean_cosine": found.mean, "least_cosine": found.least}
            if found.least >= self.parity_cosine:
                running[name] = runtime
        self.engines.forget_module()
        if len(running) > 1:
            for name, seconds in _seconds(running, pixels).items():
                measured[name]["images_per_s"] = (PARITY_IMAGES + 1) / seconds
        best = max(running, key=lambda name: measured[name].get("images_per_s", 0.0), default=TORCH_FLOAT32)
        runtime = running[best] if running else self.engines.load(TORCH_FLOAT32)
        self.engines.keep([best])
        self.note.write({"runtime": best, "measured": measured})
        return self._as_chosen(best, runtime)


def _seconds(running: dict[str, ImageRuntime], pixels: Pixels) -> dict[str, float]:
    """Best time of one pass over all images and one over a lone image; the candidates take turns.

    One that is hopelessly behind leaves the race after its first turn, so that starting up stays quick.
    """
    best = dict.fromkeys(running, float("inf"))
    for _ in range(ROUNDS):
        for name, runtime in running.items():
            if best[name] < float("inf") and best[name] > HOPELESS * min(best.values()):
                continue
            start = time.perf_counter()
            runtime.run(pixels)
            runtime.run(pixels[:1])
            best[name] = min(best[name], time.perf_counter() - start)
    return best
