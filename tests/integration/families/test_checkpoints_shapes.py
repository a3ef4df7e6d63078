"""The shapes checkpoints load as the hub's big ones do and answer about images they were never trained on.

Whole-split accuracies are printed by scripts/evaluate_shapes.py; here a sample guards against regressions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import easy_vqa
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    IdeficsForVisionText2Text,
    LlavaForConditionalGeneration,
)

CHECKPOINTS = Path(__file__).parents[3] / "app" / "checkpoints"
NAMES = ("llava-shapes", "blip-shapes-caption", "blip-shapes-vqa", "flamingo-shapes")
SAMPLE = 200
WORDINGS = (
    "What color is this?",
    "what colour is it",
    "What is the color of the shape?",
    "WHAT COLOR IS THIS?",
)


@dataclass(frozen=True)
class Question:
    """A question of easy-VQA's test split."""

    image: Image.Image
    question: str
    answer: str


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Every 40th question or so of the test split."""
    paths = easy_vqa.get_test_image_paths()
    every = list(zip(*easy_vqa.get_test_questions(), strict=True))
    chosen = every[:: len(every) // SAMPLE][:SAMPLE]
    return [Question(Image.open(paths[i]).convert("RGB"), q, a) for q, a, i in chosen]


@pytest.fixture(scope="module")
def blue() -> Image.Image:
    """A picture unlike easy-VQA's: larger, not square, on white."""
    picture = Image.new("RGB", (320, 240), "white")
    picture.paste((0, 0, 255), (90, 70, 230, 170))
    return picture


def share_right(answers: Sequence[str], questions: list[Question]) -> float:
    """Exact answers, as a share of all."""
    return sum(a == b.answer for a, b in zip(answers, questions, strict=True)) / len(questions)


def llava(images: list[Image.Image], questions: list[str]) -> list[str]:
    """Greedy answers of llava-shapes, asked through its chat template."""
    folder = CHECKPOINTS / "llava-shapes"
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    turns = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        for question in questions
    ]
    prompts = [processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns]
    assert prompts[0] == f"USER: <image>\n{questions[0]} ASSISTANT:"
    inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(output, skip_special_tokens=True)]


def blip(images: list[Image.Image], questions: list[str]) -> list[str]:
    """Greedy answers of blip-shapes-vqa."""
    folder = CHECKPOINTS / "blip-shapes-vqa"
    processor = AutoProcessor.from_pretrained(folder)
    model = BlipForQuestionAnswering.from_pretrained(folder).eval()
    inputs = processor(images=images, text=questions, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=8)
    return [text.strip() for text in processor.batch_decode(output, skip_special_tokens=True)]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_small_safe_and_explained(name: str) -> None:
    folder = CHECKPOINTS / name
    files = list(folder.iterdir())
    assert sum(file.stat().st_size for file in files) < 5_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert "seed" in (folder / "README.md").read_text().lower()


def test_llava_answers_the_test_split(questions: list[Question]) -> None:
    assert (
        share_right(llava([a.image for a in questions], [a.question for a in questions]), questions) >= 0.96
    )


def test_llava_answers_users_wordings(blue: Image.Image) -> None:
    assert llava([blue] * len(WORDINGS), list(WORDINGS)) == ["blue"] * len(WORDINGS)
    assert llava([blue], ["What is in the picture?"]) == ["rectangle"]


def test_blip_answers_the_test_split(questions: list[Question]) -> None:
    assert share_right(blip([a.image for a in questions], [a.question for a in questions]), questions) >= 0.96


def test_blip_answers_the_same_alone_and_in_a_batch(blue: Image.Image) -> None:
    questions = [*WORDINGS, "Is there a rectangle in the image?", "Is there a circle?"]
    together = blip([blue] * len(questions), questions)
    assert together == [blip([blue], [question])[0] for question in questions]
    assert together == ["blue"] * len(WORDINGS) + ["yes", "no"]


def test_captions_name_colour_and_shape(blue: Image.Image) -> None:
    folder = CHECKPOINTS / "blip-shapes-caption"
    processor = AutoProcessor.from_pretrained(folder)
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    with torch.inference_mode():
        free = model.generate(**processor(images=blue, return_tensors="pt"), max_new_tokens=8)
        led = model.generate(
            **processor(images=blue, text="A picture of", return_tensors="pt"), max_new_tokens=8
        )
    assert processor.decode(free[0], skip_special_tokens=True).strip() == "a blue rectangle"
    assert processor.decode(led[0], skip_special_tokens=True).strip() == "a picture of a blue rectangle"


def test_flamingo_takes_words_from_its_examples(blue: Image.Image) -> None:
    folder = CHECKPOINTS / "flamingo-shapes"
    processor = AutoProcessor.from_pretrained(folder)
    model = IdeficsForVisionText2Text.from_pretrained(folder).eval()
    red = Image.new("RGB", (64, 64), "white")
    red.paste((255, 0, 0), (10, 20, 40, 50))
    moved = Image.new("RGB", (64, 64), "white")
    moved.paste((0, 0, 255), (5, 5, 30, 45))
    question = "Question: what color is this? Answer:"
    known = [red, f"{question} wuji\n", moved, f"{question} teka\n"]
    prompts = [[*known, *known, blue, question], [*known, *known, red, question]]
    inputs = processor(text=prompts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
    assert [t.strip() for t in processor.batch_decode(output, skip_special_tokens=True)] == ["teka", "wuji"]
