"""A vision-language model at a level of optimisation: what it answers and how fast, against float32 torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from app.families.transformers_vlm import TransformersVlm
from app.inference.memory import is_out_of_memory
from app.inference.optimisation import LEVELS, Optimisation, up_to
from app.inference.prompts import Prompt, Task
from app.inference.runtimes import parity
from app.inference.runtimes.notes import Note

log = logging.getLogger(__name__)

PROMPTS = 4
NEW_TOKENS = 16
ROUNDS = 2
NOISE = 1.05
_QUESTIONS = ("what is this?", "what color is the shape?", "how many things are there?", "describe the image")
_TOP = "standard"
_NOTHING_MORE = (
    "'aggressive' adds nothing to 'standard' for vision-language models: int8 and pruning are for encoders."
)
_ON_CPU = (
    "On a CPU the levels above 'none' change nothing for vision-language models: they run in float32 torch."
)
_TOO_LARGE = "In float32 this model does not fit the device, so half precision was not measured and nothing more tried."

Answers = list[list[int]]


def on_cpu(asked: str) -> Optimisation:
    """What runs on a CPU, whatever is asked: float32 torch itself, so that nothing needs measuring."""
    return Optimisation(asked, "none", 1.0, 1.0, None if asked == "none" else _ON_CPU)


def climb(
    at: Callable[[str], TransformersVlm], asked: str, least_agreement: float, note: Note
) -> TransformersVlm:
    """The model at the highest level up to the one asked for that answers as float32 torch does.

    `at` opens it at a level; one is open at a time, and what was measured is kept in `note`.
    """
    kept = note.read()
    try:
        known = Optimisation(**kept)
    except TypeError:
        return _measure(at, asked, least_agreement, note)
    vlm = at(known.level)
    vlm.optimisation = known
    return vlm


def _measure(
    at: Callable[[str], TransformersVlm], asked: str, least_agreement: float, note: Note
) -> TransformersVlm:
    try:
        vlm, reference, plain_s = _open_at_level(at, "none")
    except Exception as error:
        if asked == "none" or not is_out_of_memory(error):
            raise
        vlm = at("basic")
        vlm.optimisation = Optimisation(asked, "basic", note=_TOO_LARGE)
        return vlm
    best = Optimisation(asked, "none", 1.0, 1.0)
    said = [_NOTHING_MORE] if asked == LEVELS[-1] else []
    for level in up_to(min(asked, _TOP, key=LEVELS.index))[1:]:
        vlm.close()  # first, so that weights of two precisions need not fit beside each other
        vlm, answers, seconds = _open_at_level(at, level)
        agreement, speed_up = _agreement(reference, answers), plain_s / seconds
        if agreement < least_agreement:
            said.append(
                f"'{level}' was refused: {agreement:.0%} of the tokens are those of float32 torch, and "
                f"VISION_PARITY_TOKENS asks for {least_agreement:.0%}."
            )
            vlm.close()
            vlm = at(best.level)
            continue
        said += _slower(level, speed_up, best)
        best = Optimisation(asked, level, round(speed_up, 2), round(agreement, 4))
    found = replace(best, note=" ".join(said) or None)
    if found.note:
        log.warning("optimisation %s of %s: %s", asked, vlm.name, found.note)
    note.write(asdict(found))
    vlm.optimisation = found
    return vlm


def _open_at_level(
    at: Callable[[str], TransformersVlm], level: str
) -> tuple[TransformersVlm, Answers, float]:
    """The model at a level, what it answers and in how many seconds; where it fails nothing of it stays."""
    vlm = at(level)
    try:
        return vlm, *_answers(vlm)
    except BaseException:
        vlm.close()  # or its adapter would stay with the base that others hold
        raise


def _slower(level: str, speed_up: float, below: Optimisation) -> list[str]:
    if below.speed_up is None or speed_up * NOISE >= below.speed_up:
        return []
    return [
        f"'{level}' is slower than '{below.level}' here: {speed_up:.2f} against {below.speed_up:.2f} times as fast "
        "as eager float32 torch."
    ]


def _answers(vlm: TransformersVlm) -> tuple[Answers, float]:
    """Greedy answers to the prompts as tokens, and the best time of answering them all together."""
    task: Task = "vqa" if "vqa" in vlm.tasks else "caption"
    texts = _QUESTIONS if task == "vqa" else ("",)
    prompts = [
        Prompt(image, texts[index % len(texts)], task, NEW_TOKENS)
        for index, image in enumerate(parity.images(PROMPTS))
    ]
    groups: dict[str, list[int]] = {}
    packed = [vlm.pack(prompt) for prompt in prompts]
    for index, generation in enumerate(packed):
        groups.setdefault(vlm.group(generation), []).append(index)
    said: Answers = [[] for _ in prompts]
    best = float("inf")
    for turn in range(ROUNDS + 1):
        start = time.perf_counter()
        for members in groups.values():
            batch = [vlm.pack(prompts[index]) for index in members]
            for index, answer in zip(members, vlm.generate(batch), strict=True):
                said[index] = vlm.processor.tokenizer(answer.text, add_special_tokens=False).input_ids
        if turn:  # the first pass compiles and fills caches
            best = min(best, time.perf_counter() - start)
    return said, best


def _agreement(reference: Answers, other: Answers) -> float:
    """Share of tokens that stand at the same place in both, of the longer of each pair; 1.0 for empty answers."""
    same = sum(
        a == b
        for tokens, others in zip(reference, other, strict=True)
        for a, b in zip(tokens, others, strict=False)
    )
    total = sum(max(len(tokens), len(others)) for tokens, others in zip(reference, other, strict=True))
    return same / total if total else 1.0
