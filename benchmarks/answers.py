"""How well and how fast the shipped vision-language models answer: `python -m benchmarks.answers`.

Prints accuracy by type of question with 0 to 8 answer examples, latency, tokens a second, what asking together saves,
and tokens a second beside transformers' own `generate` (`benchmarks.generation`). easy-VQA's test split; nothing here
was trained on it. Knows the models, not the service around them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import easy_vqa
from PIL import Image
from rich.console import Console
from rich.table import Table

from app.families import FAMILIES
from app.families.remote.vlm import RemoteVlm
from app.inference.live_vlm import LiveVlm
from app.inference.prompts import AnswerExample, Prompt
from app.inference.registry import ModelRegistry
from app.settings import Settings
from benchmarks import generation

MODELS = ("llava-shapes", "blip-shapes-vqa")
SHOTS = (0, 1, 2, 4, 8)
AT_ONCE = 16
EPISODES = 192
out = Console(width=110)

Question = tuple[str, str, int]
Images = dict[int, Image.Image]


def kind_of(question: str, answer: str) -> str:
    """The type of a question of easy-VQA."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "color" if "color" in question else "shape"


def load(split: str, most: int, seed: int) -> tuple[list[Question], Images]:
    """`most` questions of a split, and their images by id."""
    test = split == "test"
    questions = easy_vqa.get_test_questions() if test else easy_vqa.get_train_questions()
    paths = easy_vqa.get_test_image_paths() if test else easy_vqa.get_train_image_paths()
    chosen = random.Random(seed).sample(list(zip(*questions, strict=True)), most)
    images = {}
    for _, _, number in chosen:
        with Image.open(paths[number]) as file:
            images[number] = file.convert("RGB")
    return chosen, images


async def accuracy(
    live: LiveVlm | RemoteVlm, asked: list[Question], images: Images, shown: list[list[AnswerExample]]
) -> dict[str, tuple[int, int]]:
    """(right, all) by type of question."""
    found: dict[str, list[bool]] = defaultdict(list)

    async def one(row: Question, examples: list[AnswerExample]) -> None:
        question, answer, number = row
        prompt = Prompt(images[number], question, "vqa", 8, tuple(examples))
        reply, _ = await live.answer(prompt, deadline_s=300)
        found[kind_of(question, answer)].append(reply.text == answer)

    for start in range(0, len(asked), 48):
        pairs = zip(asked[start : start + 48], shown[start : start + 48], strict=True)
        await asyncio.gather(*[one(row, examples) for row, examples in pairs])
    return {kind: (sum(flags), len(flags)) for kind, flags in found.items()}


async def speed(
    live: LiveVlm | RemoteVlm, asked: list[Question], images: Images
) -> tuple[float, float, float]:
    """Median latency alone in ms, tokens a second together, and 16 together over 16 one after another."""

    async def one(row: Question) -> int:
        reply, _ = await live.answer(Prompt(images[row[2]], row[0], "vqa", 8), deadline_s=300)
        return reply.completion_tokens

    await asyncio.gather(*[one(row) for row in asked[:AT_ONCE]])
    alone = []
    for row in asked[:AT_ONCE]:
        began = time.perf_counter()
        await one(row)
        alone.append(time.perf_counter() - began)
    together, tokens = [], 0
    for _ in range(3):
        began = time.perf_counter()
        tokens = sum(await asyncio.gather(*[one(row) for row in asked[:AT_ONCE]]))
        together.append(time.perf_counter() - began)
    best = min(together)
    return 1e3 * sorted(alone)[len(alone) // 2], tokens / best, best / sum(alone)


def make_up_words(rng: random.Random, count: int) -> list[str]:
    """Words that flamingo-shapes was never trained with: its training left out those of this checksum."""
    words: list[str] = []
    while len(words) < count:
        word = "".join(rng.choice("bdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(2))
        if zlib.crc32(word.encode()) % 5 == 0 and word not in words:
            words.append(word)
    return words


async def measure_learning(live: LiveVlm | RemoteVlm, shots: int, episodes: int, seed: int) -> float:
    """Share of episodes answered right: two made-up words name two colours, told only by `shots` examples."""
    paths = easy_vqa.get_test_image_paths()
    by_color: dict[str, set[int]] = defaultdict(set)
    for question, answer, number in zip(*easy_vqa.get_test_questions(), strict=True):
        if question == "what color is the shape?":
            by_color[answer].add(number)
    question = "what color is this?"

    def picture(rng: random.Random, color: str) -> Image.Image:
        with Image.open(paths[rng.choice(sorted(by_color[color]))]) as file:
            return file.convert("RGB")

    async def episode(number: int) -> bool:
        rng = random.Random(seed * 10_000 + number)
        colors, words = rng.sample(sorted(by_color), 2), make_up_words(rng, 2)
        turns = [index % 2 for index in range(shots)]
        rng.shuffle(turns)
        shown = tuple(AnswerExample(picture(rng, colors[turn]), question, words[turn]) for turn in turns)
        wanted = rng.randrange(2)
        prompt = Prompt(picture(rng, colors[wanted]), question, "vqa", 8, shown)
        reply, _ = await live.answer(prompt, deadline_s=300)
        return reply.text == words[wanted]

    right = 0
    for start in range(0, episodes, 24):
        right += sum(await asyncio.gather(*[episode(n) for n in range(start, min(start + 24, episodes))]))
    return right / episodes


async def main(questions: int, seed: int) -> None:
    """Both tables."""
    asked, images = load("test", questions, seed)
    taught, taught_images = load("train", 400, seed)
    rng = random.Random(seed)
    common = {
        kind: Counter(answer for question, answer, _ in taught if kind_of(question, answer) == kind)
        for kind in ("color", "shape", "yes/no")
    }
    table = Table("model", "examples", "color", "shape", "yes/no", "all", title="right answers, %")
    chance = []
    for kind, counted in common.items():
        best = counted.most_common(1)[0][0]
        of_kind = [answer for question, answer, _ in asked if kind_of(question, answer) == kind]
        chance.append((sum(answer == best for answer in of_kind), len(of_kind)))
    total = (sum(right for right, _ in chance), sum(every for _, every in chance))
    table.add_row("commonest answer", "", *(f"{100 * r / n:.1f}" for r, n in [*chance, total]))
    timing = Table("model", "ms alone", "tokens/s, 16 together", "16 together / 16 in turn", title="speed")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(Settings(data_dir=Path(folder)), FAMILIES, pool=pool)
        for name in MODELS:
            async with registry.vlm(name) as live:
                for shots in SHOTS if name.startswith("llava") else (0,):
                    shown = [
                        [
                            AnswerExample(taught_images[number], question, answer)
                            for question, answer, number in rng.sample(taught, shots)
                        ]
                        for _ in asked
                    ]
                    found = await accuracy(live, asked, images, shown)
                    parts = [found[kind] for kind in common]
                    total = (sum(right for right, _ in parts), sum(every for _, every in parts))
                    table.add_row(name, str(shots), *(f"{100 * r / n:.1f}" for r, n in [*parts, total]))
                latency, rate, ratio = await speed(live, asked, images)
                timing.add_row(name, f"{latency:.0f}", f"{rate:.0f}", f"{ratio:.2f}")
        in_context = Table("examples", *map(str, SHOTS), title="flamingo-shapes, words it never met, right %")
        async with registry.vlm("flamingo-shapes") as live:
            curve = [await measure_learning(live, shots, EPISODES, seed) for shots in SHOTS]
            in_context.add_row("two colours, two words", *(f"{100 * share:.1f}" for share in curve))
            in_context.add_row("guessing between words seen", "0", *["50"] * (len(SHOTS) - 1))
        await registry.close()
    out.print(table)
    out.print(in_context)
    out.print(timing)


def beside_generate(rounds: int) -> None:
    """The table of `benchmarks.generation`, from processes of their own."""
    here = Path(__file__).resolve().parents[1]
    found = generation.compare([here], [*generation.SHIPPED, generation.MIDDLE], "--rounds", str(rounds))
    out.print(generation.table_of("tokens a second beside plain generate", found[here]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5, help="of each way of generating; 0 leaves them out")
    options = parser.parse_args()
    asyncio.run(main(options.questions, options.seed))
    if options.rounds:
        beside_generate(options.rounds)
