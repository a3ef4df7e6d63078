"""The gate of an exported vision-language model: its runner, with each graph held against torch on what it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.families.graphs import Parts
from app.families.transformers_vlm import TransformersVlm
from app.inference.errors import ModelTaskError
from app.inference.prompts import Prompt
from workers.exporting import answer, onnx_files

PIXEL_DIFFERENCE = 1e-4
"""Largest difference of any normalised pixel value between the runner and the model's own processor."""
_KEPT_SHAPES, _KEPT_ROWS = 2, 3
"""Inputs that are kept of each graph, to run again as a batch: a first step's and a later one's."""

HELD_STEPS = 4
"""Tokens of each answer at which the graphs are also computed in torch; the whole answer is compared anyway."""

Shapes = tuple[tuple[int, ...], ...]


class RunnerGate(answer.Model):
    """Runs the exported runner and compares the output of each graph with the torch module it was exported from."""

    def __init__(self, folder: Path, parts: Parts) -> None:
        super().__init__(folder)
        self._folder = folder
        self._parts = parts
        self._steps = 0
        self._agreements: dict[str, onnx_files.Agreement] = {}
        self._kept: dict[str, dict[Shapes, list[onnx_files.Arrays]]] = {name: {} for name in parts.graphs}

    def run(self, name: str, values: answer.Arrays) -> answer.Arrays:
        """As the runner; also in torch, at an answer's first tokens."""
        graph = self._parts.graphs[name]
        outputs = super().run(name, values)
        self._steps = 0 if name in self._parts.before else self._steps + (name == "decoder")
        if self._steps > HELD_STEPS:
            return outputs
        inputs = {wanted: values[wanted] for wanted in graph.inputs}
        exact = graph.compute({wanted: torch.from_numpy(array) for wanted, array in inputs.items()})
        for output, tensor in zip(graph.outputs, exact, strict=True):
            self._compare(name, output, tensor.numpy(), outputs[output])
        kept = self._kept[name]
        shapes = tuple(array.shape for array in inputs.values())
        if shapes in kept or len(kept) < _KEPT_SHAPES:
            rows = kept.setdefault(shapes, [])
            if len(rows) < _KEPT_ROWS:
                rows.append({wanted: array.copy() for wanted, array in inputs.items()})
        return outputs

    def check_inputs(
        self, name: str, prompts: Sequence[Prompt], packed: Sequence[Mapping[str, torch.Tensor]]
    ) -> float:
        """Raise ModelTaskError unless the runner reads images and questions as the model's own processor does;
        the largest difference of a normalised pixel value.
        """
        largest = 0.0
        for prompt, tensors in zip(prompts, packed, strict=True):
            pixels = self.read_pixels(prompt.image)
            wanted = tensors["pixel_values"].numpy().reshape(-1, *tensors["pixel_values"].shape[-3:])
            difference = float(np.abs(pixels - wanted).max()) if wanted.shape == pixels.shape else np.inf
            if not difference <= PIXEL_DIFFERENCE:
                raise ModelTaskError(
                    f"The image preprocessing of '{name}' cannot be written for the runner: the model's own gives "
                    f"{list(wanted.shape)}, the runner {list(pixels.shape)}, largest difference {difference:.2g}."
                )
            largest = max(largest, difference)
            if "input_ids" in tensors and self.read_prompt(prompt.text) != tensors["input_ids"][0].tolist():
                raise ModelTaskError(
                    f"The prompt of '{name}' cannot be written for the runner: it reads other tokens in a question "
                    "than the model's own processor."
                )
        return largest

    def compare_answers(self, vlm: TransformersVlm, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """How many greedy answers of both are the same, token by token."""
        tokens = same = 0
        for prompt in prompts:
            (served,) = vlm.generate([vlm.pack(prompt)])
            text, ids = self.answer(prompt.image, prompt.text or None)
            tokens += len(ids)
            same += text == served.text and len(ids) == served.completion_tokens
        return {"compared": len(prompts), "same": same / len(prompts), "tokens": tokens}

    def check_graphs(self, cosine: float) -> dict[str, dict[str, Any]]:
        """File -> how near it comes, of the decoder also how often with the same best token.

        Raises NotTrainableError for a graph that is not exact enough, or that minds what else is in the batch.
        """
        for name, found in self._agreements.items():
            file = self._folder / f"{name}.onnx"
            found.check(file.name, cosine=cosine, top1=onnx_files.TOP1 if name == "decoder" else 0.0)
            for rows in self._kept[name].values():
                batch = [rows[index % len(rows)] for index in range(_KEPT_ROWS)]
                joined = {wanted: np.concatenate([row[wanted] for row in batch]) for wanted in rows[0]}
                onnx_files.takes_any_batch(file, joined)
        return {
            f"{name}.onnx": {
                key: value for key, value in asdict(found).items() if key != "top1" or name == "decoder"
            }
            for name, found in self._agreements.items()
        }

    def describe(self) -> dict[str, Any]:
        """Every graph's purpose and its inputs and outputs, each with dtype and shape as the file tells them."""
        return {
            f"{name}.onnx": {"purpose": graph.purpose, **onnx_files.describe(self.graphs[name])}
            for name, graph in self._parts.graphs.items()
        }

    def _compare(self, name: str, output: str, exact: Any, given: Any) -> None:
        """Row by row along the last axis. Of a decoder's outputs its logits are what is counted."""
        found = onnx_files.agreement(
            *(array.reshape(-1, array.shape[-1]).astype(np.float64) for array in (exact, given))
        )
        if name == "decoder" and output != "logits":
            found = replace(found, examples=0)
        before = self._agreements.get(name)
        self._agreements[name] = found if before is None else before.join(found)
