"""Modules as ONNX files, and the gate that an exported file must pass: ONNX Runtime agrees with the module."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from app.jobs.errors import NotTrainableError

Arrays = Mapping[str, npt.NDArray[Any]]
TOP1 = 0.99
"""Least share of a graph's rows whose best label or token is the model's in float32."""
BATCHES = (1, 3)
"""Two sizes that every exported graph must take: neither is the one it was traced with."""
_EXTERNAL_BYTES = 1_500_000_000
"""A protobuf holds 2 GB at most; beyond this the weights lie beside the graph."""


@dataclass(frozen=True)
class Agreement:
    """How near an exported graph comes to the served model on the same inputs."""

    examples: int
    max_difference: float
    """Of any single output value."""
    least_cosine: float
    """Of any example's output."""
    top1: float
    """Share of the examples with the same largest output."""

    def join(self, other: Agreement) -> Agreement:
        """Of the examples of both."""
        examples = self.examples + other.examples
        return Agreement(
            examples,
            max(self.max_difference, other.max_difference),
            min(self.least_cosine, other.least_cosine),
            (self.top1 * self.examples + other.top1 * other.examples) / examples,
        )

    def check(self, name: str, *, cosine: float, top1: float) -> None:
        """Raise NotTrainableError where the file is not exact enough to be handed out."""
        if not (self.least_cosine >= cosine and self.top1 >= top1):
            raise NotTrainableError(
                f"'{name}' does not compute what the model does: cosine {self.least_cosine:.6f} (at least {cosine}), "
                f"same best label {self.top1:.1%} (at least {top1:.1%}), largest difference {self.max_difference:.2g}."
            )


def export(
    module: nn.Module,
    example: Arrays,
    file: Path,
    outputs: Sequence[str],
    *,
    dynamic: Mapping[str, Sequence[int] | Mapping[int, str]],
    positional: bool = False,
) -> None:
    """Write the module as `file`; `example` has two rows or more, `dynamic` the axes of each input that vary, with
    their names where the graph is to tell them. A `positional` module takes `*tensors`: its inputs may have any name.
    """
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in example.items()}
    shapes = {name: _dynamic_axes(dynamic.get(name, ())) for name in example}
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch.export copies a tree spec through copyreg, which trips torch's own deprecation
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec.*", FutureWarning)
            program = torch.onnx.export(
                module.eval(),
                tuple(tensors.values()) if positional else (),
                kwargs=None if positional else tensors,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes={"tensors": tuple(shapes.values())} if positional else shapes,
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    if program is None:
        raise NotTrainableError("The model cannot be written as ONNX.")
    size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    program.save(file, external_data=size > _EXTERNAL_BYTES)


def _dynamic_axes(axes: Sequence[int] | Mapping[int, str]) -> dict[int, Any]:
    return dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def open_graph(file: Path) -> Any:
    """The graph in ONNX Runtime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def describe(graph: Any) -> dict[str, dict[str, str]]:
    """inputs and outputs of an opened graph by name, each with dtype and shape as the file tells them."""

    def describe_values(values: Any) -> dict[str, str]:
        return {value.name: f"{_dtype(value.type)} [{', '.join(map(str, value.shape))}]" for value in values}

    return {"inputs": describe_values(graph.get_inputs()), "outputs": describe_values(graph.get_outputs())}


def _dtype(kind: str) -> str:
    """ONNX Runtime's `tensor(float)` as numpy says it."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return "float32" if name == "float" else name


def run(file: Path, inputs: Arrays, *, batch: int = 16) -> list[npt.NDArray[np.float32]]:
    """The graph's outputs for all rows of the inputs, through ONNX Runtime on the CPU."""
    session = open_graph(file)
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(
            None, {name: np.ascontiguousarray(array[start : start + batch]) for name, array in inputs.items()}
        )
        for start in range(0, count, batch)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def agreement(
    reference: npt.NDArray[Any], other: npt.NDArray[Any], *, gallery: npt.NDArray[Any] | None = None
) -> Agreement:
    """Both float[n, k], row by row. The best label of a row is its largest value, or for vectors the row of
    `gallery` float[m, k] that is nearest.
    """
    difference = float(np.abs(reference - other).max())
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (reference * other).sum(axis=1) / np.maximum(norms, 1e-12)
    cosines = np.where(np.isfinite(cosines), cosines, -1.0)
    ours, theirs = (vectors if gallery is None else vectors @ gallery.T for vectors in (reference, other))
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return Agreement(len(reference), difference, float(cosines.min()), float(same.mean()))


def takes_any_batch(file: Path, inputs: Arrays) -> None:
    """Raise NotTrainableError unless the graph gives each row the same answer in batches of both sizes."""
    results = [run(file, {name: array[:3] for name, array in inputs.items()}, batch=size) for size in BATCHES]
    for array, other in zip(*results, strict=True):
        if array.shape != other.shape or not np.allclose(array, other, atol=1e-4):
            raise NotTrainableError(f"'{file.name}' answers differently in larger batches.")
