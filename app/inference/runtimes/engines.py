"""The ways a tower can run on a CPU, by name, with their files made once and kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from app.inference import device as devices
from app.inference.protocols import Pixels, Vectors
from app.inference.resizing import normalise
from app.inference.runtimes import onnx_runtime, parity, pruning
from app.inference.runtimes.notes import Note, engines_folder, note_in
from app.inference.runtimes.torch_runtime import TorchRuntime
from app.inference.runtimes.tower import ImageRuntime, Tower

ONNX_FLOAT32, ONNX_INT8, TORCH_BFLOAT16, TORCH_FLOAT32 = (
    "onnx-float32",
    "onnx-int8",
    "torch-bfloat16",
    "torch-float32",
)
PARITY_IMAGES = 8
_PRUNED = re.compile(r"(.+)-pruned-(\d+)")


def name_pruned(name: str, percent: int) -> str:
    """The name of an engine without that share of its hidden channels."""
    return f"{name}-pruned-{percent}"


class CpuEngines:
    """What one tower runs as on this CPU."""

    def __init__(self, tower: Tower, threads: int, cache_dir: Path) -> None:
        self.tower = tower
        self.threads = threads
        self.folder = engines_folder(cache_dir, tower.fingerprint, *(() if tower.steps else ("own pixels",)))
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
            self.tower.build(),
            devices.Device("cpu"),
            dtype,
            channels_last=self.tower.convolutional,
            steps=self.tower.steps,
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
            onnx_runtime.write(self.tower.to_onnx(self.build()), engine, self.tower.steps)
        else:
            example = own_pixels_of(self.tower, 2)
            onnx_runtime.export_float32(self.build(), example, engine, self.tower.steps)

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


def pixels_of(tower: Tower, count: int = PARITY_IMAGES) -> Pixels:
    """The parity images as the tower's runtimes are given them: [count, 3, h, w]."""
    return np.stack([tower.preprocess(image) for image in parity.images(count, parity.MIXED)])


def own_pixels_of(tower: Tower, count: int = PARITY_IMAGES) -> Pixels:
    """The parity images as the checkpoint's own processor prepares them: normalised float32[count, 3, h, w]."""
    return np.stack([tower.prepare(image) for image in parity.images(count, parity.MIXED)])


def reference_of(tower: Tower, module: torch.nn.Module, pixels: Pixels) -> Vectors:
    """Unit vectors in eager float32 torch, what every runtime is held against, of pixels of either kind."""
    if pixels.dtype == np.uint8 and tower.steps is not None:
        pixels = normalise(pixels, tower.steps)
    with torch.inference_mode():
        return tower.finish(module(torch.from_numpy(pixels)).float().numpy())
