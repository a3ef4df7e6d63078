"""Many-shot training of an encoder, in process: rates, weights, early stopping, adapters, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams
from app.methods.lora import LoraParams
from app.methods.params import Params
from app.settings import Settings
from tests import shapes
from tests.made_engines import share_engines
from tests.training import Trained, train_model
from workers.methods.finetune.classifier import Classifier
from workers.methods.finetune.encoder import FinetuneEncoder
from workers.methods.lora.method import EncoderLora
from workers.shared.examples import Examples, Item, Split
from workers.shared.method import StoppingError
from workers.shared.towers import image_tower

PARAMS = {"batch_size": 8, "evaluate_every": 1, "checkpoint_every": 1, "augment": False}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finetune_encoder(
    folder: Path,
    base: str = "clip-tiny",
    *,
    stop_at: int | None = None,
    restored: Path | None = None,
    **params: Any,
) -> Trained:
    rows = sorted(shapes.list_shapes().items())[: 20 if base == "lite" else 40]
    items = [Item(str(number), label=shape) for number, (_, shape) in rows]
    examples = Examples("classification", items, lambda name: shapes.data(int(name)))
    settings = Settings(data_dir=share_engines(folder / "data"), device="cpu", threads=1)
    return train_model(
        examples,
        "finetune",
        folder,
        base=base,
        params={**PARAMS, **params},
        settings=settings,
        stop_at=stop_at,
        restored=restored,
    )


def series(done: Trained, name: str) -> dict[int, float]:
    return {step: figures[name] for step, _, figures in done.run.reports if name in figures}


def test_adapters_are_merged_and_rates_rise_then_stay(tmp_path: Path) -> None:
    done = finetune_encoder(
        tmp_path,
        epochs=1.5,
        schedule="constant",
        warmup_steps=3,
        learning_rate=1e-3,
        lora={"rank": 4},
        gradient_checkpointing=True,
        patience=10,  # so that it does not end before its last step
    )
    rates = series(done, "learning_rate")
    assert [rates[step] for step in sorted(rates)] == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 1e-3])
    assert 3 * 64 + 3 < (done.card.parameters or 0) < 50_000  # more than the head, less than the tower
    assert "model.safetensors" in done.card.files
    assert not [name for name in done.card.files if "adapter" in name]


def test_it_stops_when_nothing_improves_and_keeps_the_best(tmp_path: Path) -> None:
    done = finetune_encoder(tmp_path, epochs=50, patience=2, learning_rate=1e-12, head_learning_rate=1e-12)
    looks = series(done, "validation_accuracy")
    assert len(looks) == 3
    assert done.evaluation["best_step"] == 1
    assert done.evaluation["accuracy"] == pytest.approx(looks[1], abs=0.01)


def test_rare_labels_weigh_more_unless_told_otherwise(tmp_path: Path) -> None:
    tower = image_tower("clip-tiny", Settings(data_dir=tmp_path, device="cpu"))
    fair = Classifier(tower, 2, FinetuneParams(), [30, 10])
    assert fair.weights.tolist() == pytest.approx([40 / 60, 2.0])
    plain = Classifier(tower, 2, FinetuneParams(class_weights=False), [30, 10])
    assert plain.weights.tolist() == [1.0, 1.0]
    pixels, labels = torch.zeros(2, 3, tower.side, tower.side), torch.tensor([0, 1])
    for model in (fair, plain):
        model.eval().requires_grad_(False)
    fair.head.load_state_dict(plain.head.state_dict())
    each = torch.nn.functional.cross_entropy(plain(pixels)["logits"], labels, reduction="none")
    assert float(fair(pixels, labels)["loss"]) == pytest.approx(float((each[0] + 3 * each[1]) / 4), rel=1e-5)


TAIL = {
    "augment": True,
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "epochs": 1.25,
    "batch_size": 8,
    "tail_cache_mb": 1,
}
"""Room for 55 views of 16 images to learn from and 4 to choose by."""


@pytest.mark.slow
def test_of_lite_the_tail_is_trained_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = finetune_encoder(tmp_path / "whole", "lite", **TAIL)
    assert [step for step, _, _ in whole.run.reports] == [1, 2, 3]
    assert any("last stages alone" in line and "2 changed copies" in line for line in whole.run.lines)
    assert whole.evaluation["accuracy"] > 1 / 3
    with pytest.raises(StoppingError):
        finetune_encoder(tmp_path / "cut", "lite", stop_at=2, **TAIL)
    rest = finetune_encoder(
        tmp_path / "rest", "lite", restored=tmp_path / "cut" / "scratch" / "checkpoint", **TAIL
    )
    assert [step for step, _, _ in rest.run.reports] == [3]
    assert series(rest, "loss") == {3: series(whole, "loss")[3]}
    assert rest.card.files == whole.card.files
    for name in whole.card.files[1:]:
        first, second = (load_file(made.folder / name) for made in (whole, rest))
        assert all(np.array_equal(first[key], second[key]) for key in first)


def test_what_belongs_to_the_whole_tower_is_refused_beside_the_tail() -> None:
    with pytest.raises(ValueError, match="trains tail takes no lora, processes"):
        FinetuneParams.model_validate({"trains": "tail", "lora": {}, "processes": 2})


@pytest.mark.parametrize(
    ("base", "params", "words"),
    [
        ("clip-tiny", {"precision": "fp16"}, "CUDA devices only"),
        ("lite", {"lora": {}}, "takes no adapters"),
        ("clip-tiny", {"trains": "tail"}, "no tail to train alone"),
        ("lite", {"gradient_checkpointing": True}, "too small to recompute"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, base: str, params: Any, words: str) -> None:
    with pytest.raises(NotTrainableError, match=words):
        finetune_encoder(tmp_path, base, **params)


@pytest.mark.parametrize(
    ("method", "params"), [(FinetuneEncoder, FinetuneParams()), (EncoderLora, LoraParams())]
)
def test_a_label_that_is_only_judged_is_named(method: Any, params: Params) -> None:
    sides: list[tuple[str, Split]] = [("a", "train"), ("b", "train"), ("c", "test")]
    items = [Item(f"{label}{n}", label=label, split=side) for label, side in sides for n in range(3)]
    with pytest.raises(NotTrainableError, match="training split holds no example of 'c'"):
        method.validate(params, Examples("classification", items, lambda _: b""))
