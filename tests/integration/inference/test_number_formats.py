"""Vision-language models learn and answer in bfloat16, which a CUDA device takes and which this CPU computes as well.

What is trained stays float32 and meets a base and inputs in bfloat16: on a GPU and here, a layer that is given both at
once raises.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.families.vlms import load_vlm, resolve_vlm
from app.inference.device import Device
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.settings import Settings
from tests import shapes
from tests.integration.families.test_vlm_formats import save_smolvlm
from tests.training import Trained, train_model
from workers.methods.common.vlm import adapting
from workers.shared.examples import Examples, Item

LORA = {"steps": 2, "batch_size": 2, "evaluate_every": 1, "rehearsal": 0}
WHOLE = {"epochs": 1, "batch_size": 2, "evaluate_every": 1}


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number formats and the attention that a CUDA device takes."""
    for name in ("dtype_name", "training_dtype_name"):
        monkeypatch.setattr(Device, name, property(lambda self: "bfloat16"))
    monkeypatch.setattr(adapting, "default_attention", lambda device: None)


def train_in_format(base: str, method: str, params: dict[str, Any], folder: Path) -> Trained:
    caption = base.endswith("caption")
    rows = sorted(shapes.list_shapes().items())[:4]
    items = [
        Item(str(number), split, question=None if caption else "what tint?", answer=colour)
        for (number, (colour, _)), split in zip(rows, ("train", "train", "validation", "test"), strict=True)
    ]
    examples = Examples("caption" if caption else "vqa", items, lambda name: shapes.data(int(name)))
    settings = Settings(data_dir=folder / "data", device="cpu", threads=1)
    return train_model(examples, method, folder, base=base, kind="vlm", params=params, settings=settings)


@pytest.mark.parametrize(
    ("base", "method", "params"),
    [
        ("llava-shapes", "lora", LORA),
        ("llava-shapes", "finetune", {**WHOLE, "lora": {}}),
        pytest.param("flamingo-shapes", "lora", LORA, marks=pytest.mark.slow),
        pytest.param("flamingo-shapes", "finetune", {**WHOLE, "lora": {}}, marks=pytest.mark.slow),
        ("flamingo-shapes", "finetune", WHOLE),
        ("smolvlm", "finetune", {**WHOLE, "lora": {}}),
        ("blip-shapes-vqa", "finetune", WHOLE),
        ("blip-shapes-caption", "lora", LORA),
    ],
)
def test_it_learns_in_the_number_format_of_a_gpu_and_is_served_in_it(
    base: str, method: str, params: dict[str, Any], tmp_path: Path
) -> None:
    if base == "smolvlm":
        save_smolvlm(tmp_path / "base")
        base = str(tmp_path / "base")
    made = train_in_format(base, method, params, tmp_path / "job")
    losses = [figures["loss"] for _, _, figures in made.run.reports if "loss" in figures]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    weights = [tensor for file in made.folder.glob("*.safetensors") for tensor in load_file(file).values()]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights if tensor.is_floating_point())
    served = load_vlm(
        resolve_vlm(str(made.folder)),
        EncoderConfig.from_settings(Settings(data_dir=tmp_path / "served", device="cpu", threads=1)),
    )
    assert served.model.dtype == torch.bfloat16
    task = next(iter(served.tasks))
    answer = served.generate([served.pack(Prompt(shapes.image(0), "what tint?", task, max_new_tokens=4))])[0]
    assert answer.finish_reason in ("stop", "length")
