"""Every method trains every family for a few steps on a CUDA device, and what it made is served there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from app.families.vlms import load_vlm, resolve_vlm
from app.inference.device import Device, cuda_devices
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.settings import Settings
from tests import shapes
from tests.training import Trained, train_model
from workers.shared.examples import Examples, Item

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cuda_devices() == 0, reason="this machine has no CUDA device"),
]

EPISODES = {"steps": 2, "evaluate_every": 1}
LORA = {"steps": 2, "batch_size": 2, "evaluate_every": 1}
WHOLE = {"epochs": 1, "batch_size": 2, "evaluate_every": 1, "checkpoint_every": 1}
VLMS = ("llava-shapes", "flamingo-shapes", "blip-shapes-vqa", "blip-shapes-caption")


def learned(
    base: str, kind: str, method: str, params: dict[str, Any], examples: Examples, folder: Path
) -> Trained:
    settings = Settings(data_dir=folder / "data", device="cuda")
    made = train_model(examples, method, folder, base=base, kind=kind, params=params, settings=settings)
    figures = {name: value for _, _, reported in made.run.reports for name, value in reported.items()}
    assert all(math.isfinite(value) for value in figures.values())
    if method != "head":  # which trains nothing
        assert figures["samples_per_s"] > 0
        assert figures["device_memory_mb"] > 0
    return made


def labelled() -> Examples:
    rows = sorted(shapes.list_shapes().items())[:24]
    items = [Item(str(number), label=shape) for number, (_, shape) in rows]
    return Examples("classification", items, lambda name: shapes.data(int(name)))


@pytest.mark.parametrize("base", ["lite", "clip-tiny", "dinov2-tiny"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("head", {}),
        ("siamese", EPISODES),
        ("prototypical", EPISODES),
        ("maml", EPISODES),
        ("lora", LORA),
        ("finetune", WHOLE),
        ("finetune", {**WHOLE, "gradient_checkpointing": True, "precision": "fp16"}),
    ],
)
def test_encoders(base: str, method: str, params: dict[str, Any], tmp_path: Path) -> None:
    if base == "lite" and params.get("gradient_checkpointing"):
        params = {**params, "gradient_checkpointing": False}  # it is too small to recompute anything
    made = learned(base, "encoder", method, params, labelled(), tmp_path)
    assert made.card.labels


@pytest.mark.parametrize("method", ["prototypical", "siamese", "maml"])
def test_the_last_stages_of_lite_learn_along(method: str, tmp_path: Path) -> None:
    learned("lite", "encoder", method, {**EPISODES, "end_to_end": True}, labelled(), tmp_path)


@pytest.mark.parametrize("base", VLMS)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("lora", LORA),
        ("lora", {**LORA, "augment": False, "rehearsal": 0}),
        ("finetune", WHOLE),
        ("finetune", {**WHOLE, "lora": {}}),
        ("finetune", {**WHOLE, "precision": "fp32"}),
    ],
)
def test_vision_language_models(base: str, method: str, params: dict[str, Any], tmp_path: Path) -> None:
    caption = base.endswith("caption")
    rows = sorted(shapes.list_shapes().items())[:8]
    items = [
        Item(
            str(number),
            ("train", "train", "validation", "test")[place % 4],  # type: ignore[arg-type]
            question=None if caption else "what tint?",
            answer=colour,
        )
        for place, (number, (colour, _)) in enumerate(rows)
    ]
    examples = Examples("caption" if caption else "vqa", items, lambda name: shapes.data(int(name)))
    made = learned(base, "vlm", method, params, examples, tmp_path)
    served = load_vlm(
        resolve_vlm(str(made.folder)),
        EncoderConfig.from_settings(Settings(data_dir=tmp_path / "served", device="cuda")),
    )
    assert str(served.model.dtype) == f"torch.{Device('cuda').dtype_name}"
    task = next(iter(served.tasks))
    answer = served.generate([served.pack(Prompt(shapes.image(0), "what tint?", task, max_new_tokens=4))])[0]
    assert answer.finish_reason in ("stop", "length")


def test_a_tower_in_four_bits_is_left_whole(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    items = [
        Item(str(number), question="what tint?", answer="red") for number in sorted(shapes.list_shapes())[:4]
    ]
    examples = Examples("vqa", items, lambda name: shapes.data(int(name)))
    made = learned("llava-shapes", "vlm", "lora", {**LORA, "four_bit": True}, examples, tmp_path)
    assert made.card.parameters
    assert torch.cuda.max_memory_allocated() > 0
