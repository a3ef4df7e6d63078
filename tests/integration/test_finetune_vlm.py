"""Many-shot training of a vision-language model: it learns, ends the same after a stop, and is served whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import NotTrainableError
from app.inference.encoders import EncoderConfig
from app.inference.vlms import load_vlm, resolve_vlm
from app.inference.vlms.prompts import Prompt
from app.settings import Settings
from tests import shapes
from tests.training import Trained, trained
from workers.examples import Examples, Item
from workers.methods.base import StoppingError

QUESTION = "tell me the tint"
PARAMS = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 3e-4,
    "evaluate_every": 6,
    "checkpoint_every": 6,
    "augment": False,
}


@pytest.fixture(scope="module")
def examples() -> Examples:
    """A wording that the model was never taught, with answers that it can spell."""
    rows = sorted(shapes.shown().items())[:64]
    items = [
        Item(str(number), ("train", "train", "train", "test")[place % 4], question=QUESTION, answer=colour)
        for place, (number, (colour, _)) in enumerate(rows)
    ]
    return Examples("vqa", items, lambda name: shapes.data(int(name)))


def learned(examples: Examples, folder: Path, **options: object) -> Trained:
    settings = Settings(data_dir=folder / "data", threads=1)
    return trained(
        examples,
        "finetune",
        folder,
        base="llava-shapes",
        kind="vlm",
        params=PARAMS,
        settings=settings,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def whole(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return learned(examples, tmp_path_factory.mktemp("whole"))


def test_it_learns_a_new_wording_and_is_served_by_itself(whole: Trained, examples: Examples) -> None:
    figures = whole.evaluation
    assert figures["exact_match"] > figures["before"]["exact_match"] + 0.2
    assert figures["exact_match"] > figures["commonest"] + 0.2
    vlm = load_vlm(
        resolve_vlm(str(whole.folder)), EncoderConfig.from_settings(Settings(data_dir=whole.run.scratch))
    )
    assert vlm.tasks == {"vqa"}
    asked = [one for one in examples.items if one.split == "test"]
    said = [
        vlm.generate([vlm.pack(Prompt(examples.image(one), QUESTION, "vqa", max_new_tokens=4))])[0].text
        for one in asked
    ]
    right = sum(text == one.answer for text, one in zip(said, asked, strict=True)) / len(asked)
    assert right == pytest.approx(figures["exact_match"], abs=0.07)


def test_a_stopped_run_ends_like_one_that_was_left_alone(
    whole: Trained, examples: Examples, tmp_path: Path
) -> None:
    with pytest.raises(StoppingError):
        learned(examples, tmp_path / "first", stop_at=7)
    again = learned(examples, tmp_path / "second", restored=tmp_path / "first" / "scratch" / "checkpoint")
    assert again.evaluation["exact_match"] == pytest.approx(whole.evaluation["exact_match"], abs=0.07)


def test_labels_are_no_answers(tmp_path: Path) -> None:
    labelled = Examples("classification", [Item("1", label="a"), Item("2", label="b")], lambda _: b"")
    with pytest.raises(NotTrainableError, match="questions or captions"):
        learned(labelled, tmp_path)
