"""What the Trainer's loaders hand out can be pinned: CUDA pins memory of the CPU alone, and refuses anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.jobs.spec import JobSpec
from app.settings import Settings
from tests import shapes
from tests.training import LocalRun
from workers.methods import load_method
from workers.shared.examples import Examples, Item


def pin(batch: Any) -> None:
    """As CUDA would, whose machine is not here: raises RuntimeError in its words."""
    assert batch
    for name, tensor in batch.items():
        if tensor.device.type != "cpu":
            raise RuntimeError(
                f"cannot pin '{name}' on {tensor.device}: only dense CPU tensors can be pinned"
            )


def prepared(folder: Path, base: str, kind: str, examples: Examples, **params: Any) -> Any:
    spec = JobSpec.model_validate(
        {
            "kind": "train",
            "task": examples.task,
            "method": "finetune",
            "base_model": base,
            "base_kind": kind,
            "params": {"epochs": 1, "batch_size": 2, "validation_share": 0, **params},
            "model": "test",
            "seed": 0,
        }
    )
    trainer, checked = load_method(spec)
    made: Any = trainer(
        LocalRun(spec, Settings(data_dir=folder, device="cpu", threads=1), folder), checked, examples
    )
    made.prepare()
    return made


@pytest.mark.parametrize(
    ("base", "task", "params"),
    [
        ("llava-shapes", "vqa", {}),
        ("llava-shapes", "vqa", {"lora": {}}),
        ("flamingo-shapes", "vqa", {}),
        ("blip-shapes-vqa", "vqa", {"augment": False}),
        ("blip-shapes-caption", "caption", {}),
    ],
)
def test_batches_of_answers_stay_on_the_cpu_until_the_trainer_moves_them(
    base: str, task: Any, params: dict[str, Any], tmp_path: Path
) -> None:
    items = [
        Item(str(number), question="what is it?" if task == "vqa" else None, answer="three")
        for number in sorted(shapes.list_shapes())[:4]
    ]
    made = prepared(
        tmp_path, base, "vlm", Examples(task, items, lambda name: shapes.data(int(name))), **params
    )
    made.lessons.vlm.device = torch.device(
        "meta"
    )  # stands for a GPU: tensors that go there are no CPU tensors
    with pytest.raises(RuntimeError, match="only dense CPU tensors"):
        pin(made.lessons.move(made.lessons.collate([(made.items.prompt(items[0], 0), "three")])))
    batches = list(made.trainer(tmp_path / "trainer").get_train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        pin(batch)


@pytest.mark.parametrize("base", ["lite", "clip-tiny", "dinov2-tiny"])
def test_batches_of_labelled_images_stay_there_too(base: str, tmp_path: Path) -> None:
    rows = sorted(shapes.list_shapes().items())[:8]
    items = [Item(str(number), label=("a", "b")[place % 2]) for place, (number, _) in enumerate(rows)]
    examples = Examples("classification", items, lambda name: shapes.data(int(name)))
    whole = prepared(tmp_path, base, "encoder", examples, trains="all")._method
    whole.device = torch.device("meta")
    for batch in whole.trainer(tmp_path / "trainer").get_train_dataloader():
        pin(batch)
