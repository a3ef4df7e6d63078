"""Tokens a second of generating answers, against transformers' own `generate` at the same batch.

`python -m benchmarks.answers` prints it. By itself, `python benchmarks/generation.py --tree OTHER` measures the code
of another checkout with the same prompts, since it asks nothing of it but to load, pack and generate. Knows the models,
not the service around them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

TOGETHER = (1, 4, 16)
QUESTIONS = ("what color is the shape?", "is there a circle?", "describe the image.", "what is this?")
SHIPPED = ("llava-shapes", "blip-shapes-vqa", "flamingo-shapes")
MIDDLE = "llava of 220 M parameters"
NEW_TOKENS = {MIDDLE: 16}
MIN_PROMPTS = 4
"""Prompts that are answered at least, where fewer are asked together."""


def save_middle_llava(folder: Path, shapes: Path) -> None:
    """LLaVA 1.5's configuration with random weights, at a size that shows arithmetic as well as overheads."""
    processor: Any = transformers.AutoProcessor.from_pretrained(shapes, backend="pil")
    words = processor.tokenizer
    vision = transformers.CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    text = transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=12,
        num_attention_heads=16,
        max_position_embeddings=2048,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        image_seq_length=64,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def pictures(count: int) -> list[Image.Image]:
    """Coloured circles and squares."""
    made = []
    for number in range(count):
        picture = Image.new("RGB", (64, 64), "white")
        pen = ImageDraw.Draw(picture)
        draw = pen.ellipse if number % 2 else pen.rectangle
        draw((10 + number % 7, 12, 44, 40 + number % 5), fill=("red", "blue", "green", "teal")[number % 4])
        made.append(picture)
    return made


def measure(name: str, location: str, rounds: int, *, cpu_time: bool) -> dict[str, Any]:
    """Best tokens a second of plain `generate`, of `Vlm.generate` and of the served model, which take turns, by how
    many are asked together. Packing the prompts counts for the served model alone.

    `cpu_time` counts the process's CPU time, with one thread, instead of the clock's.
    """
    from app.families.vlms import load_vlm, resolve_vlm
    from app.inference.live_vlm import LiveVlm
    from app.inference.prompts import Prompt
    from app.inference.sources import EncoderConfig
    from app.settings import Settings

    new = NEW_TOKENS.get(name, 8)
    clock = time.process_time if cpu_time else time.perf_counter
    if cpu_time:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        settings = Settings(data_dir=Path(folder), device="cpu")
        vlm = load_vlm(resolve_vlm(location), EncoderConfig.from_settings(settings))
        prompts = [
            Prompt(picture, QUESTIONS[n % len(QUESTIONS)], "vqa", new)
            for n, picture in enumerate(pictures(16))
        ]
        packed = [vlm.pack(prompt) for prompt in prompts]
        said: dict[int, list[Any]] = {}

        def generate_plainly(together: int) -> None:
            # BLIP's own `generate` lets answers look at what pads a question
            apart = (lambda g: str(g.prompt_tokens)) if vlm.family == "blip" else (lambda g: "")
            for batch in _batches(packed[: _count(together)], together, apart):
                inputs = vlm.collate([generation.packed for generation in batch])
                with torch.inference_mode():
                    vlm.model.generate(**inputs, max_new_tokens=new, num_beams=1, do_sample=False)

        def loop(together: int) -> None:
            said[together] = [
                answer
                for batch in _batches(packed[: _count(together)], together, vlm.group)
                for answer in vlm.generate(batch)
            ]

        live = LiveVlm(vlm, pool, max_batch=16, max_queue=64)

        async def serve(together: int) -> None:
            for start in range(0, _count(together), together):
                asked = prompts[start : start + together]
                await asyncio.gather(*[live.answer(prompt, deadline_s=600) for prompt in asked])

        ways: dict[str, Callable[[int], object]] = {
            "plain": generate_plainly,
            "loop": loop,
            "served": lambda together: asyncio.run(serve(together)),
        }
        best = {way: dict.fromkeys(TOGETHER, float("inf")) for way in ways}
        for turn in range(rounds + 1):
            for together in TOGETHER:
                for way, run in ways.items():
                    began = clock()
                    run(together)
                    if turn:  # the first fills caches
                        best[way][together] = min(best[way][together], clock() - began)
        live.close()
    tokens = {
        together: sum(answer.completion_tokens + (answer.finish_reason == "stop") for answer in answers)
        for together, answers in said.items()
    }
    rates = {
        way: {together: tokens[together] / seconds for together, seconds in found.items()}
        for way, found in best.items()
    }
    return {"name": name, "rates": rates}


def _count(together: int) -> int:
    return max(MIN_PROMPTS, together)


def _batches(packed: list[Any], together: int, group: Callable[[Any], str]) -> Iterable[list[Any]]:
    """`together` at a time, in batches of one group."""
    for start in range(0, len(packed), together):
        groups: dict[str, list[Any]] = {}
        for generation in packed[start : start + together]:
            groups.setdefault(group(generation), []).append(generation)
        yield from groups.values()


def compare(trees: list[Path], names: list[str], *options: str) -> dict[Path, list[dict[str, Any]]]:
    """`measure` of each model in a process of each checkout, one after the other."""
    found: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            location = name
            if name == MIDDLE:
                location = str(Path(folder) / "middle")
                save_middle_llava(Path(location), trees[0] / "app" / "checkpoints" / "llava-shapes")
            for tree in trees:
                command = [sys.executable, __file__, "--measure", name, location, *options]
                environment = os.environ | {"PYTHONPATH": str(tree)}
                done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=True)
                found[tree].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table_of(title: str, found: list[dict[str, Any]]) -> Table:
    """Tokens a second, and how many times as fast as plain `generate` of the same process."""
    ratios = Table(
        "model", "together", "plain generate", "loop", "served", "loop / plain", "served / plain", title=title
    )
    for measured in found:
        for together in measured["rates"]["plain"]:
            plain, loop, served = (measured["rates"][way][together] for way in ("plain", "loop", "served"))
            rates = [f"{rate:.0f}" for rate in (plain, loop, served)]
            ratios.add_row(
                measured["name"], str(together), *rates, f"{loop / plain:.2f}", f"{served / plain:.2f}"
            )
    return ratios


def main() -> None:
    """Measure this checkout and those named, or print one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tree", type=Path, action="append", default=[], help="another checkout to compare with"
    )
    parser.add_argument("--model", action="append", default=[], help=f"of {', '.join((*SHIPPED, 'middle'))}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="what busy neighbours disturb little")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.rounds, cpu_time=options.cpu_time)))
        return
    passed = ["--rounds", str(options.rounds), *(["--cpu-time"] if options.cpu_time else [])]
    here = Path(__file__).resolve().parents[1]
    names = [MIDDLE if name == "middle" else name for name in options.model] or [*SHIPPED, MIDDLE]
    found = compare([here, *(tree.resolve() for tree in options.tree)], names, *passed)
    for tree, measured in found.items():
        Console(width=120).print(table_of(f"tokens a second, {tree.name}", measured))


if __name__ == "__main__":
    main()
