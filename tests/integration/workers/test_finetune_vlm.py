"""Many-shot training of a vision-language model: it learns, ends the same after a stop, and is served whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from app.families.vlms import load_vlm, resolve_vlm
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.settings import Settings
from tests import shapes
from tests.training import Trained, train_model
from workers.methods.common.vlm.labels import LabelScorer
from workers.methods.common.vlm.lessons import lessons_for
from workers.shared.examples import Examples, Item
from workers.shared.method import StoppingError
from workers.shared.run import JobRun
from workers.training.comparing import compare

pytestmark = pytest.mark.slow

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
    rows = sorted(shapes.list_shapes().items())[:64]
    items = [
        Item(str(number), ("train", "train", "train", "test")[place % 4], question=QUESTION, answer=colour)
        for place, (number, (colour, _)) in enumerate(rows)
    ]
    return Examples("vqa", items, lambda name: shapes.data(int(name)))


def finetune_vlm(
    examples: Examples, folder: Path, params: dict[str, object] = PARAMS, **options: object
) -> Trained:
    settings = Settings(data_dir=folder / "data", threads=1)
    return train_model(
        examples,
        "finetune",
        folder,
        base="llava-shapes",
        kind="vlm",
        params=params,
        settings=settings,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def whole(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return finetune_vlm(examples, tmp_path_factory.mktemp("whole"))


def test_it_learns_a_new_wording_and_is_served_by_itself(whole: Trained, examples: Examples) -> None:
    figures = whole.evaluation
    assert figures["exact_match"] > figures["before"]["exact_match"] + 0.2
    assert figures["exact_match"] > figures["commonest"] + 0.2
    vlm = load_vlm(
        resolve_vlm(str(whole.folder)), EncoderConfig.from_settings(Settings(data_dir=whole.run.scratch))
    )
    assert vlm.tasks == {"vqa"}
    asked = [item for item in examples.items if item.split == "test"]
    said = [
        vlm.generate([vlm.pack(Prompt(examples.image(item), QUESTION, "vqa", max_new_tokens=4))])[0].text
        for item in asked
    ]
    right = sum(text == item.answer for text, item in zip(said, asked, strict=True)) / len(asked)
    assert right == pytest.approx(figures["exact_match"], abs=0.07)


def test_accumulated_batches_report_the_loss_of_one_large_batch(
    whole: Trained, examples: Examples, tmp_path: Path
) -> None:
    halves = finetune_vlm(examples, tmp_path, {**PARAMS, "epochs": 1 / 6, "batch_size": 4, "accumulation": 2})

    def first(done: Trained, name: str) -> float:
        return next(figures[name] for _, _, figures in done.run.reports if name in figures)

    for name in ("loss", "grad_norm"):
        assert first(halves, name) == pytest.approx(first(whole, name), rel=0.05)


def test_a_stopped_run_ends_like_one_that_was_left_alone(
    whole: Trained, examples: Examples, tmp_path: Path
) -> None:
    with pytest.raises(StoppingError):
        finetune_vlm(examples, tmp_path / "first", stop_at=7)
    again = finetune_vlm(
        examples, tmp_path / "second", restored=tmp_path / "first" / "scratch" / "checkpoint"
    )
    assert again.evaluation["exact_match"] == pytest.approx(whole.evaluation["exact_match"], abs=0.07)


@pytest.mark.parametrize(
    "base",
    ["llava-shapes", "blip-shapes-vqa", "flamingo-shapes"],
)
def test_labels_are_learned_as_answers_and_judged_among_themselves(base: str, tmp_path: Path) -> None:
    names = {"circle", "triangle", "rectangle"}
    rows = sorted(shapes.list_shapes().items())[:48]
    items = [
        Item(str(number), ("train", "train", "validation", "test")[place % 4], label=shape)
        for place, (number, (_, shape)) in enumerate(rows)
    ]
    labelled = Examples("classification", items, lambda name: shapes.data(int(name)))
    made = train_model(
        labelled.ask_for_labels("tell me the form"),
        "finetune",
        tmp_path,
        base=base,
        kind="vlm",
        params=PARAMS,
        settings=Settings(data_dir=tmp_path / "data", threads=1),
    )
    figures = made.evaluation
    assert figures["examples"] == 12
    assert figures["chance"] == pytest.approx(1 / 3)
    assert figures["commonest"] < 0.7
    assert figures["accuracy"] > figures["chance"] + 0.25
    assert {"accuracy", "macro_f1", "exact_match"} <= figures["before"].keys()
    assert set(figures["per_class"]) == names
    assert figures["evaluated_on"] == "test"
    assert made.card.labels == sorted(names)
    note = json.loads((made.folder / "vision.json").read_text())
    assert (note["labels"], note["question"]) == (made.card.labels, "tell me the form")
    # on the same test images, the head of the encoder that collections are bound to
    made.run.settings = made.run.settings.replace(encoder="clip-tiny")
    found = compare(cast(JobRun, made.run), labelled, made.judgement)
    assert (found.encoder, found.images, found.evaluated_on) == ("clip-tiny", 12, "test")
    assert found.trained is not None
    assert found.head is not None
    assert found.trained.accuracy == figures["accuracy"]
    assert found.head.accuracy > figures["chance"] + 0.25


def test_a_label_is_scored_as_a_whole_answer(tmp_path: Path) -> None:
    config = EncoderConfig.from_settings(Settings(data_dir=tmp_path))
    vlm = load_vlm(resolve_vlm("llava-shapes"), config)
    lessons = lessons_for(vlm)
    prompt = Prompt(shapes.image(0), "what color is the shape?", "vqa", max_new_tokens=4)
    said = vlm.generate([vlm.pack(prompt)])[0].text
    labels = ["purple and green", said, "circle"]
    shares = LabelScorer(lessons, labels, batch=2).probabilities(prompt)
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == 1
    # one at a time, and in another order, they weigh the same
    again = LabelScorer(lessons, labels[::-1], batch=1).probabilities(prompt)
    assert again[::-1] == pytest.approx(shares, abs=1e-4)
    with pytest.raises(NotTrainableError, match="'Red' and 'red' are the same"):
        LabelScorer(lessons, ["Red", "red"], batch=1)


def test_labels_are_no_answers(tmp_path: Path) -> None:
    labelled = Examples("classification", [Item("1", label="a"), Item("2", label="b")], lambda _: b"")
    with pytest.raises(NotTrainableError, match="questions or captions"):
        finetune_vlm(labelled, tmp_path)
