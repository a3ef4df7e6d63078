"""What each level of optimisation has to offer on a CPU and on a CUDA device."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from app.inference import device as devices
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes import parity, pruning
from app.inference.runtimes.engines import (
    ONNX_FLOAT32,
    ONNX_INT8,
    PARITY_IMAGES,
    TORCH_BFLOAT16,
    TORCH_FLOAT32,
    CpuEngines,
    name_pruned,
    reference_of,
)
from app.inference.runtimes.gpu.opening import gpu_runtime
from app.inference.runtimes.notes import Note, engines_folder, note_in
from app.inference.runtimes.torch_runtime import TorchRuntime, cpu_computes_bfloat16
from app.inference.runtimes.tower import ImageRuntime, Tower
from app.inference.sources import EncoderConfig

TORCH_HALF, COMPILED, COMPILED_INT8, TENSORRT = "torch-half", "compiled-half", "compiled-int8", "tensorrt"


class Offer(NamedTuple):
    """Runtimes worth measuring, and what there is to say of those that are not."""

    names: list[str]
    remarks: list[str]


class CpuOffers:
    """Basic: ONNX Runtime in float32. Standard: the faster of that and bfloat16, where the CPU multiplies it.
    Aggressive: int8 matrix products, and fewer hidden channels as far as that stays exact.
    """

    def __init__(self, tower: Tower, threads: int, cache_dir: Path, least_cosine: float) -> None:
        self._engines = CpuEngines(tower, threads, cache_dir)
        self._least_cosine = least_cosine
        self.load = self._engines.load
        self.note = self._engines.note

    def at(self, level: str, reference: Vectors, pixels: Pixels) -> Offer:
        """What this level adds. bfloat16 convolutions never came near ONNX Runtime's (benchmarks/encoders.py)."""
        convolutional = self._engines.tower.convolutional
        if level == "basic":
            return Offer([ONNX_FLOAT32], [])
        if level == "standard":
            half = cpu_computes_bfloat16() and not convolutional
            return Offer([ONNX_FLOAT32, *([TORCH_BFLOAT16] if half else [])], [])
        whole = ONNX_FLOAT32 if convolutional else ONNX_INT8
        names = [] if convolutional else [ONNX_INT8]
        remarks = (
            ["int8 is not tried: dynamic int8 speeds up matrix products, and this model has convolutions."]
            if convolutional
            else []
        )
        percent, cosine = self._prunable(reference, pixels)
        if percent:
            names.append(name_pruned(whole, percent))
        else:
            remarks.append(
                f"Pruning was refused: without {min(pruning.SHARES)}% of the hidden channels the least cosine "
                f"is {cosine:.4f}."
            )
        return Offer(names, remarks)

    def keep(self, names: Iterable[str]) -> None:
        """Remove the engines that no level runs; those of lower levels are what a stricter parity falls back to."""
        self._engines.forget_module()
        self._engines.keep(names)

    def _prunable(self, reference: Vectors, pixels: Pixels) -> tuple[int, float]:
        """The largest share (in per cent, or 0) of channels the vectors do not miss, and the last cosine seen."""
        largest, cosine = 0, -1.0
        tower = self._engines.tower
        for percent in pruning.SHARES:
            module = deepcopy(self._engines.build())
            if not pruning.prune(module, percent):
                break
            cosine = parity.compare(reference, reference_of(tower, module, pixels)).least
            if cosine < self._least_cosine:
                break
            largest = percent
        return largest, cosine


class CudaOffers:
    """Basic: half precision. Standard: torch.compile over it. Aggressive: int8 by torchao and TensorRT, each only
    where its package is installed.
    """

    def __init__(self, tower: Tower, place: devices.Device, config: EncoderConfig) -> None:
        self._tower = tower
        self._place = place
        self._config = config
        self._folder = engines_folder(config.cache_dir, tower.fingerprint, place.card)

    def at(self, level: str, reference: Vectors, pixels: Pixels) -> Offer:
        """What this level adds; nothing is measured here."""
        if level == "basic":
            return Offer([TORCH_HALF], [])
        if level == "standard":
            return Offer([COMPILED], [])
        names, remarks = [], []
        for name, package, label in (
            (COMPILED_INT8, "torchao", "int8"),
            (TENSORRT, "torch_tensorrt", "TensorRT"),
        ):
            if importlib.util.find_spec(package) is None:
                remarks.append(
                    f"{label} is not tried: the package {package.replace('_', '-')} is not installed."
                )
            else:
                names.append(name)
        return Offer(names, remarks)

    def load(self, name: str) -> ImageRuntime:
        """The runtime of that name. Of a compiled one the batch that is measured is compiled at once, others in the
        background; raises RuntimeError where the device cannot prepare images as the checkpoint's processor does.
        """
        dtype = torch.float32 if name == TORCH_FLOAT32 else getattr(torch, self._place.dtype_name)
        backend = {COMPILED: "inductor", COMPILED_INT8: "inductor", TENSORRT: "tensorrt"}.get(name)
        if name == TENSORRT:
            importlib.import_module("torch_tensorrt")
        has_graphs = self._config.gpu_graphs and name != TORCH_FLOAT32
        runtime = gpu_runtime(
            self._tower,
            replace(self._config, gpu_graphs=has_graphs),
            self._place,
            dtype=dtype,
            backend=backend,
            change=self._to_int8 if name == COMPILED_INT8 else None,
        )
        if runtime is not None:
            try:
                if backend is not None:
                    runtime.record(PARITY_IMAGES)
            except BaseException:
                runtime.close()
                raise
            return runtime
        if backend is not None:
            raise RuntimeError("only models whose images are resized on the device are compiled")
        tower = self._tower
        return TorchRuntime(
            tower.build(), self._place, dtype, channels_last=tower.convolutional, steps=tower.steps
        )

    def _to_int8(self, module: torch.nn.Module) -> None:
        """Weights and activations of the matrix products, by torchao; raises ImportError without it."""
        quantisation: Any = importlib.import_module("torchao.quantization")
        recipe = quantisation.Int8DynamicActivationInt8WeightConfig()
        quantisation.quantize_(module, recipe, device=self._place.torch_name)

    def note(self, kind: str, asked: str) -> Note:
        """Where the outcome of measuring is kept."""
        return note_in(self._folder, kind, asked)

    def keep(self, names: Iterable[str]) -> None:
        """Give back what measuring the others took; compiled kernels lie in torch's own cache."""
        self._place.release_cache()
