"""Which runtime an image tower gets: the fastest, measured once, that stays close enough to float32 torch.

Knows the candidates and remembers what it measured; knows nothing of model families or requests.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers

from app.inference import device as devices
from app.inference.protocols import Pixels
from app.inference.runtimes import onnx_runtime, parity
from app.inference.runtimes.torch_runtime import TorchRuntime, cpu_computes_bfloat16
from app.inference.runtimes.tower import ImageRuntime, RuntimeConfig, Tower

log = logging.getLogger(__name__)

ONNX_FLOAT32, ONNX_INT8, TORCH_BFLOAT16, TORCH_FLOAT32 = (
    "onnx-float32",
    "onnx-int8",
    "torch-bfloat16",
    "torch-float32",
)
PARITY_IMAGES = 8
ROUNDS = 3
HOPELESS = 2.0
RECIPE = 1
"""Raised when export or choice changes, so that older caches are not read."""


def choose(tower: Tower, config: RuntimeConfig) -> ImageRuntime:
    """The tower, running. Blocks: seconds the first time on a machine, a fraction of one afterwards.

    On CUDA: torch in the dtype of the device. On CPU: the fastest candidate whose cosines to float32 torch on
    the parity images all reach `config.parity_cosine`; float32 torch where none does.
    """
    place = devices.parse(config.device)
    if place.kind == "cuda":
        dtype = getattr(torch, place.dtype_name)
        return TorchRuntime(tower.build(), place, dtype, channels_last=tower.convolutional)
    return _CpuChoice(tower, config).runtime()


def candidates(tower: Tower, config: RuntimeConfig) -> list[str]:
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
    def __init__(self, tower: Tower, config: RuntimeConfig) -> None:
        self.tower = tower
        self.threads = devices.threads(config.threads)
        self.names = candidates(tower, config)
        self.parity_cosine = config.parity_cosine
        self.engines = config.cache_dir / "engines" / f"{tower.fingerprint}-{_machine_key()}"
        asked = f"{','.join(self.names)} {config.parity_cosine} {self.threads}"
        self.note = self.engines / f"choice-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.json"
        self.module: torch.nn.Module | None = None

    def runtime(self) -> ImageRuntime:
        torch.set_num_threads(self.threads)
        remembered = self._remembered()
        if remembered is not None:
            try:
                return self._load(remembered)
            except Exception:
                log.warning(
                    "The engine %s could not be used again; measuring anew.", remembered, exc_info=True
                )
        return self._measure() if self.names else self._load(TORCH_FLOAT32)

    def _remembered(self) -> str | None:
        try:
            name = json.loads(self.note.read_text())["runtime"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return name if name in (*self.names, TORCH_FLOAT32) else None

    def _build(self) -> torch.nn.Module:
        """The reference and the export share one module; torch runtimes convert theirs, build their own."""
        if self.module is None:
            self.module = self.tower.build()
        return self.module

    def _pixels(self) -> Pixels:
        return np.stack([self.tower.preprocess(image) for image in parity.images(PARITY_IMAGES)])

    def _load(self, name: str) -> ImageRuntime:
        if name == ONNX_FLOAT32:
            return self._onnx_float32()
        if name == ONNX_INT8:
            engine = self.engines / ONNX_INT8
            return onnx_runtime.load(engine, "int8", self.threads, lambda: self._make_int8(engine))
        dtype = torch.bfloat16 if name == TORCH_BFLOAT16 else torch.float32
        return TorchRuntime(
            self.tower.build(), devices.Device("cpu"), dtype, channels_last=self.tower.convolutional
        )

    def _onnx_float32(self) -> onnx_runtime.OnnxRuntime:
        engine = self.engines / ONNX_FLOAT32

        def make() -> None:
            if self.tower.to_onnx is not None:
                onnx_runtime.write(self.tower.to_onnx(), engine)
            else:
                onnx_runtime.export_float32(self._build(), self._pixels()[:2], engine)

        return onnx_runtime.load(engine, "float32", self.threads, make)

    def _make_int8(self, engine: Path) -> None:
        if not (self.engines / ONNX_FLOAT32 / onnx_runtime.MODEL).is_file():
            self._onnx_float32()
        onnx_runtime.quantise_int8(self.engines / ONNX_FLOAT32, engine)

    def _measure(self) -> ImageRuntime:
        pixels = self._pixels()
        with torch.inference_mode():
            reference = self.tower.finish(self._build()(torch.from_numpy(pixels)).float().numpy())
        running: dict[str, ImageRuntime] = {}
        measured: dict[str, dict[str, float]] = {}
        for name in self.names:
            try:
                runtime = self._load(name)
                found = parity.compare(reference, self.tower.finish(runtime.run(pixels)))
            except Exception:  # a runtime this machine lacks, or a model it cannot express: the others remain
                log.warning("The runtime %s is not available for this model.", name, exc_info=True)
                continue
            measured[name] = {"mean_cosine": found.mean, "least_cosine": found.least}
            if found.least >= self.parity_cosine:
                running[name] = runtime
        self.module = None
        if len(running) > 1:
            for name, seconds in _seconds(running, pixels).items():
                measured[name]["images_per_s"] = (PARITY_IMAGES + 1) / seconds
        best = max(running, key=lambda name: measured[name].get("images_per_s", 0.0), default=TORCH_FLOAT32)
        chosen = running[best] if running else self._load(TORCH_FLOAT32)
        self._remember(best, measured)
        return chosen

    def _remember(self, best: str, measured: dict[str, dict[str, float]]) -> None:
        for name in (ONNX_FLOAT32, ONNX_INT8):
            if name != best:
                shutil.rmtree(self.engines / name, ignore_errors=True)
        self.engines.mkdir(parents=True, exist_ok=True)
        draft = self.note.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({"runtime": best, "measured": measured}, indent=2) + "\n")
        os.replace(draft, self.note)


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


def _machine_key() -> str:
    """Changes with anything that could change an engine or a measurement: versions and the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    parts = (RECIPE, torch.__version__, onnxruntime.__version__, transformers.__version__, platform.machine())
    return hashlib.sha256(repr((parts, processor)).encode()).hexdigest()[:8]
