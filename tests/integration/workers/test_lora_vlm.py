"""Vision-language models learn a new kind of question from a few examples, by LoRA."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file

from app.families import FAMILIES, files
from app.families.loading import locate_vlm
from app.families.vlms import resolve_vlm
from app.inference.prompts import Prompt
from app.inference.registry import ModelRegistry
from app.inference.sources import CHECKPOINTS, EncoderConfig
from app.jobs.errors import NotTrainableError
from app.settings import Settings
from tests import shapes
from tests.integration.families.test_vlm_formats import save_llava, save_smolvlm
from tests.training import Trained, train_model
from workers.methods.common.vlm.lessons import IGNORED, lessons_for
from workers.shared.examples import Examples, Item
from workers.shared.method import StoppingError
from workers.shared.metrics import NOT_JUDGED

pytestmark = pytest.mark.slow

CORNERS = {"triangle": "three", "rectangle": "four", "circle": "none"}
QUESTION = "how many corners does it have?"
"""A question, and answers, that the shapes checkpoints were never taught; the truth follows from the shape."""


@pytest_asyncio.fixture
async def registry(tmp_path: Path) -> AsyncIterator[ModelRegistry]:
    with ThreadPoolExecutor(2) as pool:
        made = ModelRegistry(Settings(data_dir=tmp_path / "served", device="cpu"), FAMILIES, pool=pool)
        yield made
        await made.close()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Training sets how many threads torch uses in the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pick_numbers(count: int, seed: int = 0) -> list[int]:
    """Images that no checkpoint was trained on: a circle, a rectangle and a triangle in turn."""
    numbers = sorted(shapes.list_shapes())
    random.Random(seed).shuffle(numbers)
    each = [
        [number for number in numbers if shapes.list_shapes()[number][1] == shape]
        for shape in sorted(CORNERS)
    ]
    return [number for turn in zip(*each, strict=False) for number in turn][:count]


def questions(numbers: Sequence[int], question: str = QUESTION) -> Examples:
    images = {hashlib.sha256(shapes.data(number)).hexdigest(): number for number in numbers}
    items = [
        Item(sha, question=question, answer=CORNERS[shapes.list_shapes()[number][1]])
        for sha, number in images.items()
    ]
    return Examples("vqa", items, lambda sha: shapes.data(images[sha]))


def train_adapter(examples: Examples, folder: Path, base: str = "llava-shapes", **more: Any) -> Trained:
    params = more.pop("params", {})
    # one thread: two that wait for each other on a busy machine are many times slower
    settings = Settings(data_dir=folder / "data", device="cpu", threads=1)
    return train_model(
        examples, "lora", folder, base=base, kind="vlm", settings=settings, params=params, **more
    )


async def answers(registry: ModelRegistry, model: str, asked: Sequence[tuple[int, str]]) -> list[str]:
    async with registry.vlm(model) as live:
        prompts = [Prompt(shapes.image(number), question, "vqa", 12) for number, question in asked]
        replies = []
        for start in range(0, len(prompts), 20):
            part = prompts[start : start + 20]
            replies += await asyncio.gather(*[live.answer(prompt, deadline_s=300) for prompt in part])
    return [reply.text for reply, _ in replies]


async def test_twenty_examples_teach_a_question_that_was_never_asked(
    registry: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = pick_numbers(100)
    result = train_adapter(questions(numbers[:20]), tmp_path, params={"steps": 160})
    held_out = numbers[20:]
    truth = [CORNERS[shapes.list_shapes()[number][1]] for number in held_out]
    asked = [(number, QUESTION) for number in held_out]
    old = shapes.questions()[:: len(shapes.questions()) // 60]

    async def right(model: str) -> tuple[float, float]:
        new = await answers(registry, model, asked)
        before = await answers(registry, model, [(number, question) for question, _, number in old])
        return (
            sum(text == other for text, other in zip(new, truth, strict=True)) / len(truth),
            sum(text == other for text, (_, other, _) in zip(before, old, strict=True)) / len(old),
        )

    base, after = await right("llava-shapes"), await right(str(result.folder))
    again = await right("llava-shapes")
    chance = Counter(truth).most_common(1)[0][1] / len(truth)
    with capsys.disabled():
        sys.stdout.write(
            f"\n'{QUESTION}' before: {base[0]:.0%}, after: {after[0]:.0%}, the commonest answer: {chance:.0%}\n"
            f"what it knew, before: {base[1]:.0%}, after: {after[1]:.0%}\n"
        )
    assert base[0] == 0
    assert chance < 0.5
    assert after[0] >= 0.7
    assert after[1] >= 0.5
    assert again == base
    assert result.evaluation["before"]["exact_match"] == 0
    assert result.evaluation["exact_match"] >= 0.5
    assert result.evaluation["held_out"]
    assert 0 < result.evaluation["commonest"] <= 1


BASES: dict[str, Callable[[Path], str]] = {
    "llava": lambda _: "llava-shapes",
    "llava of the hub's shape": lambda folder: _saved(save_llava, folder),
    "idefics": lambda _: "flamingo-shapes",
    "idefics3": lambda folder: _saved(save_smolvlm, folder),
    "blip for questions": lambda _: "blip-shapes-vqa",
    "blip for captions": lambda _: "blip-shapes-caption",
}


def _saved(save: Callable[[Path], None], folder: Path) -> str:
    save(folder)
    return str(folder)


def lessons(base: str, folder: Path) -> Any:
    config = EncoderConfig.from_settings(Settings(data_dir=folder, device="cpu"))
    found = locate_vlm(resolve_vlm(base), config)
    model = found.model("cpu", torch.float32, attn_implementation="eager").eval()
    return lessons_for(found.family_class(found.name, model, found.processor(), torch.device("cpu")))


@pytest.mark.parametrize("family", BASES)
def test_only_the_answer_and_its_end_are_learned(family: str, tmp_path: Path) -> None:
    made = lessons(BASES[family](tmp_path / "model"), tmp_path)
    task = "caption" if family.endswith("captions") else "vqa"
    tokenizer = made.vlm.processor.tokenizer
    taught_items = [
        (Prompt(shapes.image(0), "a photo of", task, 0), "three"),
        (Prompt(shapes.image(1), "what is in this image?", task, 0), "none of the four"),
    ]
    for prompt, answer in taught_items:
        lesson = made.lesson(prompt, answer)
        learned = lesson["labels"][lesson["labels"] != IGNORED].tolist()
        assert learned[-1] == made.end
        assert made.end in made.vlm.end_tokens()
        assert tokenizer.decode(learned[:-1]).strip() == answer
        ids = lesson.get("decoder_input_ids", lesson["input_ids"])
        assert ids.shape == lesson["labels"].shape
        assert ids[lesson["labels"] != IGNORED].tolist() == learned
    with torch.no_grad():
        alone = [made.loss(made.batch([item])) for item in taught_items]
        together = made.loss(made.batch(taught_items))
    # padding changes nothing, and a long answer counts as much as a short one
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "family",
    ["llava", "blip for questions", "idefics", "blip for captions"],
)
async def test_what_was_taught_is_what_is_served(
    registry: ModelRegistry, family: str, tmp_path: Path
) -> None:
    base = BASES[family](tmp_path / "base")
    caption = family.endswith("captions")
    numbers = pick_numbers(2)
    wanted = ["no red", "yes"]
    shown = {hashlib.sha256(shapes.data(number)).hexdigest(): number for number in numbers}
    items = [
        Item(sha, question=None if caption else "how many corners?", answer=answer)
        for sha, answer in zip(shown, wanted, strict=True)
    ]
    examples = Examples("caption" if caption else "vqa", items, lambda sha: shapes.data(shown[sha]))
    overfit = {"validation_share": 0, "rehearsal": 0, "augment": False, "dropout": 0}
    result = train_adapter(examples, tmp_path, base, params={**overfit, "steps": 80, "batch_size": 2})
    assert result.evaluation["exact_match_on_taught"] == 1
    assert result.evaluation["evaluated_on"] == NOT_JUDGED
    assert "exact_match" not in result.evaluation
    first, last = result.run.reports[0][2]["loss"], result.run.reports[-1][2]["loss"]
    assert last < first / 3
    async with registry.vlm(str(result.folder)) as live:
        assert live.tasks == {examples.task}
        for number, answer in zip(numbers, wanted, strict=True):
            text = "" if caption else "how many corners?"
            reply, _ = await live.answer(
                Prompt(shapes.image(number), text, examples.task, 12), deadline_s=300
            )
            assert reply.text == answer
            assert reply.finish_reason == "stop"


@pytest.mark.parametrize("family", ["llava of the hub's shape", "idefics3"])
async def test_models_of_the_hubs_shape_are_taught_and_served(
    registry: ModelRegistry, family: str, tmp_path: Path
) -> None:
    base = BASES[family](tmp_path / "base")
    params = {"steps": 3, "batch_size": 2, "gradient_checkpointing": True, "accumulation": 2}
    result = train_adapter(questions(pick_numbers(4)), tmp_path, base, params=params)
    weights = load_file(result.folder / "adapter_model.safetensors")
    projector = "connector" if family == "idefics3" else "multi_modal_projector"
    assert any(projector in name for name in weights)
    assert not any("vision" in name for name in weights)
    assert result.card.parameters == sum(weight.numel() for weight in weights.values())
    assert await answers(registry, str(result.folder), [(0, QUESTION)])


def test_the_files_name_base_task_and_method(tmp_path: Path) -> None:
    result = train_adapter(questions(pick_numbers(4)), tmp_path, params={"steps": 2})
    noted = json.loads((result.folder / "vision.json").read_text())
    assert noted == {
        "format": 1,
        "kind": "vlm",
        "id": "test",
        "task": "vqa",
        "tasks": ["vqa"],
        "method": "lora",
        "base_model": "llava-shapes",
        "base_fingerprint": files.fingerprint(CHECKPOINTS / "llava-shapes", tmp_path),
        "adapted": "peft",
    }
    assert result.card.files == ["vision.json", "adapter_config.json", "adapter_model.safetensors"]
    assert {path.name for path in result.folder.iterdir()} == set(result.card.files)
    assert str(tmp_path) not in (result.folder / "adapter_config.json").read_text()


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    examples = questions(pick_numbers(8))
    params = {"steps": 8, "evaluate_every": 3, "checkpoint_every": 100, "batch_size": 4}
    whole = train_adapter(examples, tmp_path / "whole", params=params)
    with pytest.raises(StoppingError):
        train_adapter(examples, tmp_path / "first", params=params, stop_at=5)
    checkpoint = tmp_path / "first" / "scratch" / "checkpoint"
    rest = train_adapter(examples, tmp_path / "second", params=params, restored=checkpoint)
    assert [step for step, _, _ in rest.run.reports] == [6, 7, 8]
    one, other = (load_file(result.folder / "adapter_model.safetensors") for result in (whole, rest))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert rest.evaluation == whole.evaluation


def test_training_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    params = {"steps": 50, "learning_rate": 1e-9, "evaluate_every": 1, "patience": 2, "rehearsal": 0}
    result = train_adapter(questions(pick_numbers(12)), tmp_path, params=params)
    assert result.run.reports[-1][0] < 50
    assert any("stopped after step" in line for line in result.run.lines)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"four_bit": True}, "bitsandbytes"),
        ({"targets": ["q_proj", "nothing"]}, "no linear layers named nothing"),
    ],
)
def test_what_this_machine_or_model_cannot_do_is_said(
    tmp_path: Path, params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(NotTrainableError, match=sentence):
        train_adapter(questions(pick_numbers(4)), tmp_path, params=params)


def test_examples_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    def read(_: str) -> bytes:
        raise FileNotFoundError

    item = Item("0", question="what?", answer="this")
    refused: list[tuple[Examples, str]] = [
        (Examples("classification", [Item("0", label="a")], read), "questions or captions"),
        (Examples("vqa", [item, Item("1", answer="b")], read), "needs a question"),
        (Examples("vqa", [item, Item("1", question="b")], read), "needs an answer"),
        (Examples("vqa", [item], read), "1 examples"),
        (Examples("vqa", [item, Item("1", question="who?", answer="me")], read), "0 examples"),
    ]
    for number, (examples, sentence) in enumerate(refused):
        with pytest.raises(NotTrainableError, match=sentence):
            train_adapter(examples, tmp_path / str(number))


def test_an_adapter_is_no_base(tmp_path: Path) -> None:
    first = train_adapter(questions(pick_numbers(4)), tmp_path / "first", params={"steps": 1})
    with pytest.raises(NotTrainableError, match="itself an adapter"):
        train_adapter(questions(pick_numbers(4)), tmp_path / "second", str(first.folder), params={"steps": 1})
