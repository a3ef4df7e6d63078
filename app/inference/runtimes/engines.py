"""The ways a tower can run on a CPU, by name, with their files made once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from app.inference import device as devices
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes import onnx_runtime, parity, pruning
from app.inference.runtimes.torch_runtime import TorchRuntime
from app.inference.runtimes.tower import ImageRuntime, Tower

ONNX_FLOAT32, ONNX_INT8, TORCH_BFLOAT16, TORCH_FLOAT32 = (
    "onnx-float32",
    "onnx-int8",
    "torch-bfloat16",
    "torch-float32",
)
PARITY_IMAGES = 8
RECIPE = 1
"""Raised when export or choice changes, so that older caches are not read."""
_PRUNED = re.compile(r"(.+)-pruned-(\d+)")


def pruned(name: str, percent: int) -> str:
    """The name of an engine without that share of its hidden channels."""
    return f"{name}-pruned-{percent}"


class CpuEngines:
    """What one tower runs as on this CPU."""

    def __init__(self, tower: Tower, threads: int, cache_dir: Path) -> None:
        self.tower = tower
        self.threads = threads
        self.folder = cache_dir / "engines" / f"{tower.fingerprint}-{machine_key()}"
        self._module: torch.nn.Module | None = None

    def build(self) -> torch.nn.Module:
        """The reference and the exports share one module; torch runtimes convert theirs, so they build their own."""
        if self._module is None:
            self._module = self.tower.build()
        return self._module

    def forget_module(self) -> None:
        """Let go of the shared module when everything is measured."""
        self._module = None

    def load(self, name: str) -> ImageRuntime:
        """The runtime of that name, its engine made first where it is missing.

        Raises whatever torch or ONNX Runtime raises where this model or machine cannot have it.
        """
        if match := _PRUNED.fullmatch(name):
            runtime = self._without(int(match[2])).load_as(match[1], name)
            runtime.label += f", {match[2]}% of its hidden channels pruned"
            return runtime
        return self.load_as(name, name)

    def load_as(self, kind: str, folder: str) -> ImageRuntime:
        """A runtime of that kind, its files under another name."""
        engine = self.folder / folder
        if kind == ONNX_FLOAT32:
            return onnx_runtime.load(engine, "float32", self.threads, lambda: self._make_float32(engine))
        if kind == ONNX_INT8:
            return onnx_runtime.load(engine, "int8", self.threads, lambda: self._make_int8(engine, folder))
        dtype = torch.bfloat16 if kind == TORCH_BFLOAT16 else torch.float32
        return TorchRuntime(
            self.tower.build(), devices.Device("cpu"), dtype, channels_last=self.tower.convolutional
        )

    def keep(self, names: Iterable[str]) -> None:
        """Remove every engine but these; a session that is open goes on without its file."""
        kept = set(names)
        for folder in self.folder.glob("onnx-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def note(self, kind: str, asked: str) -> Note:
        """Where the outcome of measuring for what was `asked` is kept."""
        return note_in(self.folder, kind, asked)

    def _make_float32(self, engine: Path) -> None:
        if self.tower.to_onnx is not None:
            onnx_runtime.write(self.tower.to_onnx(self.build()), engine)
        else:
            onnx_runtime.export_float32(self.build(), pixels_of(self.tower)[:2], engine)

    def _make_int8(self, engine: Path, name: str) -> None:
        float32 = self.folder / name.replace(ONNX_INT8, ONNX_FLOAT32)
        if not (float32 / onnx_runtime.MODEL).is_file():
            self._make_float32(float32)
        onnx_runtime.quantise_int8(float32, engine)

    def _without(self, percent: int) -> CpuEngines:
        """The same, but for a tower with fewer hidden channels."""
        build = self.tower.build

        def smaller() -> torch.nn.Module:
            module = build()
            pruning.prune(module, percent)
            return module

        other = CpuEngines.__new__(CpuEngines)
        other.tower = replace(self.tower, build=smaller)
        other.threads, other.folder, other._module = self.threads, self.folder, None
        return other


class Note:
    """One outcome on disk; a note that cannot be read or written costs time only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """What was kept, or nothing."""
        try:
            kept = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def write(self, outcome: dict[str, Any]) -> None:
        """Keep it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(outcome, indent=2) + "\n")
        os.replace(draft, self.path)


def note_in(folder: Path, kind: str, asked: str) -> Note:
    """The note of that kind for what was asked."""
    return Note(folder / f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.json")


def pixels_of(tower: Tower, count: int = PARITY_IMAGES) -> Pixels:
    """The parity images as the tower sees them: float32[count, 3, h, w]."""
    return np.stack([tower.preprocess(image) for image in parity.images(count)])


def reference_of(tower: Tower, module: torch.nn.Module, pixels: Pixels) -> Vectors:
    """Unit vectors in eager float32 torch: what every runtime is held against."""
    with torch.inference_mode():
        return tower.finish(module(torch.from_numpy(pixels)).float().numpy())


def machine_key(*more: str) -> str:
    """Changes with anything that could change an engine or a measurement: versions, the processor, and `more`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    parts = (
        RECIPE,
        torch.__version__,
        onnxruntime.__version__,
        version("transformers"),
        platform.machine(),
        *more,
    )
    return hashlib.sha256(repr((parts, processor)).encode()).hexdigest()[:8]
