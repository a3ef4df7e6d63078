"""How well flamingo-shapes learns words from examples: accuracy against the number of examples.

Images come from easy-VQA's test split and words from the reserved ones, so that neither was trained with.
`said` counts answers generated word for word; `chosen` counts the right one of the episode's words scored
most probable, for which chance is one over their number.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from easy_vqa_data import load_split
from evaluate_shapes import pictures
from PIL import Image
from shapes_episodes import FORMS, Album, Dimension, Item, trial
from transformers import AutoProcessor, IdeficsForVisionText2Text

Prompt = list[str | Image.Image]


class Student:
    """The checkpoint, loaded as anyone would load it."""

    def __init__(self, folder: Path, images: list[Image.Image]) -> None:
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = IdeficsForVisionText2Text.from_pretrained(folder).eval()
        self.images = images

    def prompt(self, items: list[Item]) -> Prompt:
        """Answered items, then the last one's question."""
        _, form = FORMS[0]
        prompt: Prompt = []
        for item in items:
            answer = "" if item is items[-1] else f" {item.answer}\n"
            prompt += [self.images[item.image], form.format(item.question) + answer]
        return prompt

    @torch.inference_mode()
    def say(self, prompts: list[Prompt]) -> list[str]:
        """Greedy answers."""
        inputs = self.processor(text=prompts, padding=True, return_tensors="pt")
        output = self.model.generate(**inputs, max_new_tokens=8)
        new = output[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    @torch.inference_mode()
    def choose(self, prompts: list[Prompt], words: list[list[str]]) -> list[str]:
        """The most probable of each prompt's own words, line break included."""
        ways = len(words[0])
        full = [[*p[:-1], f"{p[-1]} {word}\n"] for p, own in zip(prompts, words, strict=True) for word in own]
        inputs = self.processor(text=full, padding=True, return_tensors="pt")
        logits = self.model(**inputs).logits[:, :-1].log_softmax(-1)
        ids = inputs["input_ids"][:, 1:]
        scores = logits.gather(2, ids[..., None]).squeeze(2)
        lengths = [
            len(self.processor.tokenizer.encode(f" {w}\n", add_special_tokens=False))
            for own in words
            for w in own
        ]
        # left padding: an answer is the last tokens of its row
        totals = torch.stack([row[-n:].sum() for row, n in zip(scores, lengths, strict=True)])
        best = totals.view(-1, ways).argmax(1).tolist()
        return [own[i] for own, i in zip(words, best, strict=True)]


def accuracy(
    student: Student,
    album: Album,
    examples: int,
    ways: int,
    dimensions: Sequence[Dimension],
    episodes: int,
    seed: int,
    batch: int = 25,
) -> dict[str, float]:
    """Shares of `episodes` trials said and chosen right."""
    rng = random.Random(seed)
    trials = [trial(album, rng, examples, ways, dimensions[i % len(dimensions)]) for i in range(episodes)]
    said = chosen = 0
    for start in range(0, episodes, batch):
        part = trials[start : start + batch]
        prompts = [student.prompt(items) for items, _ in part]
        truth = [items[-1].answer for items, _ in part]
        said += sum(a == t for a, t in zip(student.say(prompts), truth, strict=True))
        picks = student.choose(prompts, [words for _, words in part])
        chosen += sum(a == t for a, t in zip(picks, truth, strict=True))
    return {"said": round(said / episodes, 3), "chosen": round(chosen / episodes, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("app/checkpoints/flamingo-shapes"))
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--examples", type=int, nargs="+", default=[0, 1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    test = load_split("test")
    student, album = Student(options.folder, pictures(test)), Album.of(test)
    settings: list[tuple[str, int, tuple[Dimension, ...]]] = [
        ("two words, colors", 2, ("color",)),
        ("two words, shapes", 2, ("shape",)),
        ("four words, colors", 4, ("color",)),
    ]
    for name, ways, dimensions in settings:
        for examples in options.examples:
            result = accuracy(student, album, examples, ways, dimensions, options.episodes, options.seed)
            print(
                json.dumps({"trials": name, "examples": examples, **result, "chance": 1 / ways}), flush=True
            )


if __name__ == "__main__":
    main()
