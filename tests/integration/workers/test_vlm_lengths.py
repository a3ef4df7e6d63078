"""Examples with long texts: left out or cut, and said, in both ways of training a vision-language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.families.vlms import load_vlm, resolve_vlm
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.methods.lora import LoraParams
from app.settings import Settings
from tests import shapes
from tests.training import train_model
from workers.methods.common.vlm.items import ItemSplits
from workers.methods.common.vlm.lengths import limit_texts
from workers.methods.common.vlm.lessons import IGNORED, Lessons, lessons_for
from workers.shared.examples import Examples, Item

LONG = "a red circle beside a blue circle beside a green circle"


@pytest.fixture(scope="module", params=["llava-shapes", "blip-shapes-vqa"])
def lessons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu")
    return lessons_for(load_vlm(resolve_vlm(request.param), EncoderConfig.from_settings(settings)))


def sides() -> ItemSplits:
    items = [
        Item(str(n), question="what is it?", answer=answer) for n, answer in enumerate(["red", "blue", LONG])
    ]
    items.append(Item("9", question=f"is it {LONG}?", answer="yes"))
    return ItemSplits(items, [], items)


def test_long_examples_are_left_out_and_said(lessons: Lessons) -> None:
    lessons.limit, said = None, []
    found = limit_texts(sides(), lessons, LoraParams(max_text_tokens=12), said.append)
    assert [item.answer for item in found.train] == ["red", "blue"]
    assert found.evaluation is found.train
    assert said == ["2 examples of more than 12 tokens of question and answer are left out"]


def test_long_answers_are_cut_where_that_is_asked_for(lessons: Lessons) -> None:
    lessons.limit, said = None, []
    params = LoraParams(max_text_tokens=12, truncate_texts=True)
    found = limit_texts(sides(), lessons, params, said.append)
    assert [item.sha256 for item in found.train] == ["0", "1", "2"]
    assert [line.split(" ")[0] for line in said] == ["1", "1"]
    image = shapes.image(0)
    lengths = {}
    for item in found.train:
        lesson = lessons.lesson(Prompt(image, item.question or "", "vqa", 0), item.answer or "")
        taught = lesson["labels"][lesson["labels"] != IGNORED].tolist()
        lengths[item.sha256] = len(taught) + lessons.question_tokens(item.question or "")
        # the end is taught of whole answers only
        assert (taught[-1] == lessons.end) == (item.sha256 != "2")
    assert lengths["2"] == 12
    assert max(lengths["0"], lengths["1"]) < 12


def test_nothing_short_enough_is_an_error(lessons: Lessons) -> None:
    with pytest.raises(NotTrainableError, match="at most 1 tokens"):
        limit_texts(sides(), lessons, LoraParams(max_text_tokens=1), lambda line: None)


def test_questions_of_any_length_take_one_call_a_layer_and_lose_as_they_do_alone(lessons: Lessons) -> None:
    """Ranks that gather weights layer by layer would wait without end for one that calls a layer once more."""
    lessons.limit = None
    taught = [
        (Prompt(shapes.image(place), question, "vqa", 0), answer)
        for place, (question, answer) in enumerate(
            [("hue?", "red"), (f"is it {LONG}?", "no, blue"), ("what is it?", LONG)]
        )
    ]
    calls = dict.fromkeys(lessons.vlm.model.modules(), 0)

    def count(module: torch.nn.Module, *_: object) -> None:
        calls[module] += 1

    hooks = [module.register_forward_hook(count) for module in calls]
    with torch.no_grad():
        together = lessons.answer_losses(lessons.collate(taught))
        for hook in hooks:
            hook.remove()
        alone = [lessons.answer_losses(lessons.collate([lesson])) for lesson in taught]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=1e-4)
    layers = [
        module for name, module in lessons.vlm.model.named_modules() if name.endswith("layernorm_before")
    ]
    layers += [part for part in lessons.vlm.model.modules() if type(part).__name__.endswith("Layer")]
    assert layers
    assert {calls[layer] for layer in layers} == {1}


@pytest.mark.parametrize("method", ["lora", "finetune"])
def test_a_job_passes_over_its_examples_as_often_as_it_is_told(tmp_path: Path, method: str) -> None:
    rows = sorted(shapes.list_shapes().items())[:10]
    items = [
        Item(str(n), ("train", "train", "train", "train", "test")[place % 5], question="hue?", answer=colour)
        for place, (n, (colour, _)) in enumerate(rows)
    ]
    examples = Examples("vqa", items, lambda name: shapes.data(int(name)))
    params = {"epochs": 2, "batch_size": 4, "warmup_steps": 100, "max_text_tokens": 64, "augment": False}
    more = {"rehearsal": 0} if method == "lora" else {}
    before = torch.get_num_threads()
    settings = Settings(data_dir=tmp_path / "data", device="cpu", threads=1)
    try:
        found = train_model(
            examples,
            method,
            tmp_path,
            base="llava-shapes",
            kind="vlm",
            params={**params, **more},
            settings=settings,
        )
    finally:
        torch.set_num_threads(before)
    steps, of, _ = found.run.reports[-1]
    assert (steps, of) == (4, 4)
    assert any("100 steps of warm-up are no fewer than the training's 4" in line for line in found.run.lines)
