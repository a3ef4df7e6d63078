"""A vision-language model as ONNX graphs with a runner, handed out only where the runner says what torch says."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.families.graphs import Graph, Parts
from app.families.hugging_face_training import preprocessing
from app.families.loading import narrow_tasks, quiet
from app.families.transformers_vlm import TransformersVlm
from app.inference.errors import ModelTaskError, QuestionTooLongError
from app.inference.prompts import Prompt
from app.inference.runtimes import parity
from app.inference.sources import read_json
from app.jobs.errors import NotTrainableError
from workers.exporting import answer, onnx_files, weights
from workers.exporting.vlm_gate import RunnerGate
from workers.shared.data import GONE, load_examples
from workers.shared.model_files import ModelFiles
from workers.shared.run import JobRun

MAX_PROMPTS = 24
"""Answers compared, token by token."""
QUESTIONS = ("what is this?", "what color is the shape?", "how many things are there?")
"""Asked of made-up images where the data that a model learned from is not at hand."""
_EXAMPLE_TOKENS, _EXAMPLE_STEP = 5, 3
"""Lengths that the decoder is traced with: different ones, so that none is taken for another."""


def write(run: JobRun, found: ModelFiles, folder: Path) -> dict[str, Any]:
    """The graphs, what feeds them and the runner; the report says how near they come to torch.

    Raises ModelTaskError for a part that cannot be written, NotTrainableError for one that computes something else;
    both say what can be done instead.
    """
    instead = (
        "Export it with --format safetensors instead."
        if found.card
        else "Its weights are where it came from."
    )
    try:
        return _write(run, _load(run, found), _labels_question(found), folder)
    except (ModelTaskError, NotTrainableError) as error:
        raise type(error)(f"{error} {instead}") from error


def _write(run: JobRun, vlm: TransformersVlm, labels_question: str, folder: Path) -> dict[str, Any]:
    parts = vlm.take_apart()
    prompts, trained_on = _prompts(run, vlm, labels_question)
    packed = [vlm.pack(prompt).packed for prompt in prompts]
    _write_tokenizer(vlm, folder)
    (folder / "preprocessing.json").write_text(_json(preprocessing(vlm.processor.image_processor)))
    (folder / "generation.json").write_text(_json(_generation_note(run, vlm, parts, packed[0])))
    _write_graphs(run, vlm, parts, packed[0], folder)
    shutil.copy(answer.__file__, folder / "answer.py")
    gate = RunnerGate(folder, parts)
    report: dict[str, Any] = {
        "tasks": sorted(vlm.tasks),
        "images": len(prompts),
        "trained_on": trained_on,
        "preprocessing": {
            **preprocessing(vlm.processor.image_processor),
            "max_difference": gate.check_inputs(vlm.name, prompts, packed),
        },
        "answers": gate.compare_answers(vlm, prompts),
        "files": gate.check_graphs(run.settings.models.parity_cosine),
        "graphs": gate.describe(),
    }
    if report["answers"]["same"] < 1:
        raise NotTrainableError(
            "The exported graphs give other answers than the model: "
            f"{report['answers']['same']:.1%} of {len(prompts)} are the same."
        )
    return report


def _load(run: JobRun, found: ModelFiles) -> TransformersVlm:
    files, model = weights.merge_vlm(found, run.settings)
    vlm = files.family_class(run.spec.model or files.name, model, files.processor(), torch.device("cpu"))
    vlm.tasks = files.tasks if found.folder is None else narrow_tasks(files.tasks, found.folder)
    return vlm


def _labels_question(found: ModelFiles) -> str:
    """The question whose answers are labels, of a model that learned labels; else empty."""
    if found.folder is None or not (found.folder / "vision.json").is_file():
        return ""
    return str(read_json(found.folder, "vision.json").get("question") or "")


def _prompts(run: JobRun, vlm: TransformersVlm, labels_question: str) -> tuple[list[Prompt], bool]:
    """Questions that the model was made for, where they are still there; made-up images (and False) otherwise."""
    shown: list[Prompt] = []
    if run.spec.data is not None and run.spec.task is not None:
        try:
            examples = load_examples(run, "classification" if labels_question else run.spec.task)
            step = max(len(examples.items) // MAX_PROMPTS, 1)
            items = examples.items[::step][:MAX_PROMPTS]
            shown = [_prompt(run, examples.image(item), item.question or labels_question) for item in items]
        except GONE:
            run.log("The data it was trained on is gone: compared on made-up images.")
    kept = [prompt for prompt in shown if prompt.task in vlm.tasks and _fits(vlm, prompt)]
    if kept:
        return kept, True
    # a caption is a question without words; who both asks and captions is tried on both
    texts = [text for text in (*QUESTIONS, "") if ("vqa" if text else "caption") in vlm.tasks]
    images = enumerate(parity.images(MAX_PROMPTS))
    return [_prompt(run, image, texts[index % len(texts)]) for index, image in images], False


def _prompt(run: JobRun, image: Image.Image, text: str) -> Prompt:
    return Prompt(image, text, "vqa" if text else "caption", run.settings.answers.default_new_tokens)


def _fits(vlm: TransformersVlm, prompt: Prompt) -> bool:
    try:
        vlm.pack(prompt)
    except QuestionTooLongError:
        return False
    return True


def _write_tokenizer(vlm: TransformersVlm, folder: Path) -> None:
    vlm.processor.tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ModelTaskError(
            f"The tokenizer of '{vlm.name}' cannot be written as tokenizer.json, which the runner reads."
        )


def _generation_note(
    run: JobRun, vlm: TransformersVlm, parts: Parts, packed: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    tokenizer = vlm.processor.tokenizer
    image_id = None if parts.image_token is None else tokenizer.convert_tokens_to_ids(parts.image_token)
    return {
        "family": vlm.family,
        "tasks": sorted(vlm.tasks),
        "graphs": list(parts.graphs),
        "before": list(parts.before),
        "prompt": parts.prompt,
        "caption": parts.caption,
        "add_special_tokens": parts.add_special_tokens,
        "image_token": parts.image_token,
        "image_token_id": image_id,
        "image_tokens": 0 if image_id is None else int((packed["input_ids"] == image_id).sum()),
        "special_tokens": vlm.control_tokens,
        "start": parts.start,
        "end_tokens": sorted(vlm.end_tokens()),
        "max_new_tokens": run.settings.answers.default_new_tokens,
        "context_length": vlm.context_length,
        "clean_up": _clean_up(tokenizer),
    }


def _clean_up(tokenizer: Any) -> list[tuple[str, str]]:
    """What transformers replaces in a decoded text, in order; only where the tokenizer asks for it and is no BPE."""
    if (
        not tokenizer.clean_up_tokenization_spaces
        or type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    ):
        return []
    together = [(f" {mark}", mark) for mark in (".", "?", "!", ",")]
    return [*together, (" ' ", "'"), *((f" {word}", word) for word in ("n't", "'m", "'s", "'ve", "'re"))]


def _write_graphs(
    run: JobRun, vlm: TransformersVlm, parts: Parts, packed: Mapping[str, torch.Tensor], folder: Path
) -> None:
    """Each graph is traced on two rows of what the graphs before it give."""
    vlm.model.requires_grad_(False).eval()
    served = vlm.model.config._attn_implementation
    values = _example(vlm, parts, packed)
    with quiet(), warnings.catch_warnings():
        # axes that are bound to be equal share one name
        warnings.filterwarnings("ignore", r"# The axis name: .* will not be used", UserWarning)
        vlm.model.set_attn_implementation("eager")
        try:
            for done, (name, graph) in enumerate(parts.graphs.items(), start=1):
                if name == "decoder":
                    _go_one_step_on(graph, parts, values)
                _write_graph(vlm.name, name, graph, values, folder / f"{name}.onnx")
                values.update(zip(graph.outputs, graph.compute(values), strict=True))
                run.step(done, len(parts.graphs))
        finally:
            vlm.model.set_attn_implementation(served)


def _write_graph(model: str, name: str, graph: Graph, values: Mapping[str, torch.Tensor], file: Path) -> None:
    example = {wanted: values[wanted].numpy() for wanted in graph.inputs}
    try:
        onnx_files.export(graph.module, example, file, graph.outputs, dynamic=graph.inputs, positional=True)
    except (NotTrainableError, torch.onnx.OnnxExporterError, RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelTaskError(
            f"The {name.replace('_', ' ')} of '{model}' cannot be written as ONNX: {reason.rstrip('.')}."
        ) from error


def _example(
    vlm: TransformersVlm, parts: Parts, packed: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Two rows: the same image twice, and one question where a part reads it whole."""
    pixels = packed["pixel_values"].reshape(-1, *packed["pixel_values"].shape[-3:])[:1]
    ids = packed.get("input_ids", torch.tensor([[parts.start or 0]]))
    ids = torch.from_numpy(np.resize(ids.numpy(), (1, _EXAMPLE_TOKENS)))
    values = {"pixel_values": pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    values["image_attention_mask"] = torch.ones_like(ids)[..., None]
    return {name: tensor.repeat(2, *[1] * (tensor.ndim - 1)) for name, tensor in values.items()}


def _go_one_step_on(decoder: Graph, parts: Parts, values: dict[str, torch.Tensor]) -> None:
    """The decoder's second step as its example: keys and values of a first one, and fewer new tokens."""
    heads, dim = parts.cache
    for name in decoder.inputs:
        if name.startswith("past_key_values."):
            values[name] = torch.zeros(2, heads, 0, dim)
    for name, tensor in zip(decoder.outputs, decoder.compute(values), strict=True):
        values[name.replace("present", "past_key_values")] = tensor
    for name in ("input_ids", "inputs_embeds", "image_attention_mask"):
        if name in values:
            values[name] = values[name][:, :_EXAMPLE_STEP]
    values["attention_mask"] = torch.ones(2, _EXAMPLE_TOKENS + _EXAMPLE_STEP, dtype=torch.long)


def _json(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=2) + "\n"
