"""Answers on a GPU: steps captured as CUDA graphs say what they say as they are, alone as together, in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import load_vlm, resolve_vlm
from app.inference.prompts import Answer, Generation, Prompt, Sampling
from app.inference.sources import EncoderConfig
from app.settings import Settings
from tests import shapes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHIPPED = ("llava-shapes", "blip-shapes-vqa", "blip-shapes-caption", "flamingo-shapes")


@pytest.fixture(params=SHIPPED)
def vlm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TransformersVlm]:
    """In float32, where rounding leaves the likeliest word alone whatever shares its batch."""
    settings = Settings(data_dir=tmp_path, device="cuda", optimisation="none")
    made = load_vlm(resolve_vlm(request.param), EncoderConfig.from_settings(settings))
    made.static_cache = True
    yield made
    made.close()


def prompts_for(vlm: TransformersVlm, count: int = 11) -> list[Prompt]:
    asks = "vqa" in vlm.tasks
    texts = ("what color is the shape?", "is there a red circle in the image?", "describe the image.")
    return [
        Prompt(
            shapes.image(number),
            texts[number % 3] if asks else ("a photo of", "the", "a picture of a")[number % 3],
            "vqa" if asks else "caption",
            (2, 9, 24)[number % 3] + number,
        )
        for number in range(count)
    ]


def answer_prompts(vlm: TransformersVlm, prompts: list[Prompt], *, together: bool) -> list[Answer]:
    packed = [vlm.pack(prompt) for prompt in prompts]
    return vlm.generate(packed) if together else [vlm.generate([generation])[0] for generation in packed]


def test_captured_steps_say_what_steps_as_they_are_say(vlm: TransformersVlm) -> None:
    prompts = prompts_for(vlm)
    able = vlm.loop.captured.is_able
    vlm.loop.captured.is_able = False
    wanted = answer_prompts(vlm, prompts, together=True)
    vlm.loop.captured.is_able = able
    for _ in range(3):
        assert answer_prompts(vlm, prompts, together=True) == wanted
    assert able
    assert vlm.loop.captured.is_able
    assert vlm.loop.captured.shapes


def test_a_batch_answers_as_each_alone(vlm: TransformersVlm) -> None:
    prompts = prompts_for(vlm)
    alone = answer_prompts(vlm, prompts, together=False)
    assert answer_prompts(vlm, prompts, together=True) == alone
    waiting = deque(vlm.pack(prompt) for prompt in prompts)

    def join(fits: Callable[[Generation], bool]) -> list[Generation]:
        return [waiting.popleft()] if waiting and fits(waiting[0]) else []

    joined = vlm.generate([vlm.pack(prompts[-1])], join)
    assert joined[0] == alone[-1]
    assert joined[1:] == alone[: len(joined) - 1]


def test_memory_is_flat_once_all_shapes_are_captured(vlm: TransformersVlm) -> None:
    prompts = prompts_for(vlm)
    for _ in range(3):
        answer_prompts(vlm, prompts, together=True)
    torch.cuda.synchronize()
    before, captured = torch.cuda.memory_allocated(), len(vlm.loop.captured.shapes)
    for _ in range(20):
        answer_prompts(vlm, prompts, together=True)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)
    assert len(vlm.loop.captured.shapes) == captured
    vlm.drop_workspace()
    assert vlm.loop.captured.shapes == []


def test_sampling_beside_greedy_rows_leaves_those_as_they_are(vlm: TransformersVlm) -> None:
    prompts = prompts_for(vlm, 6)
    wanted = answer_prompts(vlm, prompts, together=True)
    hot = [
        Prompt(prompt.image, prompt.text, prompt.task, prompt.max_new_tokens, sampling=Sampling(2.0, 0.9))
        for prompt in prompts
    ]
    assert answer_prompts(vlm, [*prompts, *hot], together=True)[:6] == wanted
