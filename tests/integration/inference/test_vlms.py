"""Vision-language models answer: one at a time, together, piece by piece, and within their bounds."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from PIL import Image

from app.errors import OverloadedError
from app.families import FAMILIES
from app.inference.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    ModelUnavailableError,
    QuestionTooLongError,
)
from app.inference.live_vlm import LiveVlm
from app.inference.prompts import Answer, AnswerExample, Prompt, Sampling
from app.inference.registry import ModelRegistry
from app.inference.sources import CHECKPOINTS
from app.settings import Settings
from tests import shapes

QUESTIONS = 120


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def registry(
    tmp_path_factory: pytest.TempPathFactory, pool: ThreadPoolExecutor
) -> AsyncIterator[ModelRegistry]:
    made = ModelRegistry(
        Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu"), FAMILIES, pool=pool
    )
    yield made
    await made.close()


def build_prompt(number: int, question: str, tokens: int = 16, **more: object) -> Prompt:
    return Prompt(shapes.image(number), question, "vqa", tokens, **more)  # type: ignore[arg-type]


async def answer(live: object, prompt: Prompt) -> Answer:
    found, _ = await live.answer(prompt, deadline_s=300)  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["llava-shapes", "blip-shapes-vqa"])
async def test_questions_asked_together_are_answered_right(registry: ModelRegistry, name: str) -> None:
    wanted = shapes.questions()[:: len(shapes.questions()) // QUESTIONS][:QUESTIONS]
    right = 0
    async with registry.vlm(name) as live:
        for start in range(0, len(wanted), 40):
            part = wanted[start : start + 40]
            replies = await asyncio.gather(*[answer(live, build_prompt(n, q)) for q, _, n in part])
            right += sum(reply.text == said for reply, (_, said, _) in zip(replies, part, strict=True))
    assert right >= 0.95 * len(wanted)


@pytest.mark.parametrize("name", ["llava-shapes", "blip-shapes-caption"])
async def test_captions_name_colour_and_shape(registry: ModelRegistry, name: str) -> None:
    numbers = sorted(shapes.list_shapes())[:60]
    async with registry.vlm(name) as live:
        prompts = [Prompt(shapes.image(number), "", "caption", 16) for number in numbers]
        replies = await asyncio.gather(*[answer(live, prompt) for prompt in prompts])
    right = [
        reply.text == "a {} {}".format(*shapes.list_shapes()[n])
        for reply, n in zip(replies, numbers, strict=True)
    ]
    assert sum(right) >= 0.95 * len(numbers)


@pytest.mark.parametrize(
    "question", ["What color is this?", "WHAT COLOUR IS IT", "what is the color of the shape"]
)
async def test_a_users_own_wording_is_understood(registry: ModelRegistry, question: str) -> None:
    numbers = sorted(shapes.list_shapes())[:10]
    async with registry.vlm() as live:
        replies = await asyncio.gather(*[answer(live, build_prompt(number, question)) for number in numbers])
    right = [
        reply.text == shapes.list_shapes()[number][0] for reply, number in zip(replies, numbers, strict=True)
    ]
    assert sum(right) >= 9


@pytest.mark.parametrize("name", ["llava-shapes", "blip-shapes-vqa", "blip-shapes-caption"])
async def test_a_batch_answers_as_each_alone(registry: ModelRegistry, name: str) -> None:
    task = "caption" if name.endswith("caption") else "vqa"
    texts = [
        "what color is the shape?",
        "is there a circle?",
        "describe the image.",
        "what is this?",
        "is it red?",
    ]
    prompts = [
        Prompt(shapes.image(number), text, task, tokens)  # type: ignore[arg-type]
        for number, (text, tokens) in enumerate(zip(texts * 3, [1, 2, 16] * 5, strict=True))
    ]
    async with registry.vlm(name) as live:
        alone = [await answer(live, prompt) for prompt in prompts]
        together = await asyncio.gather(*[answer(live, prompt) for prompt in prompts])
    assert list(together) == alone
    assert {reply.finish_reason for reply in alone} == {"stop", "length"}


async def test_pieces_add_up_to_the_answer(registry: ModelRegistry) -> None:
    pieces: list[str] = []
    async with registry.vlm() as live:
        reply, _ = await live.answer(
            build_prompt(0, "describe the image."), deadline_s=300, on_text=pieces.append
        )
    assert len(pieces) > 1
    assert "".join(pieces) == reply.text


async def test_a_row_that_is_cut_says_so(registry: ModelRegistry) -> None:
    async with registry.vlm() as live:
        reply = await answer(live, build_prompt(0, "describe the image.", tokens=1))
    assert reply == Answer("a", reply.prompt_tokens, 1, "length")


async def test_sampling_draws_and_greedy_repeats(registry: ModelRegistry) -> None:
    async with registry.vlm() as live:
        hot = [
            await answer(live, build_prompt(0, "describe the image.", tokens=8, sampling=Sampling(2.0)))
            for _ in range(12)
        ]
        cold = [await answer(live, build_prompt(0, "describe the image.")) for _ in range(3)]
    assert len({reply.text for reply in cold}) == 1
    assert len({reply.text for reply in hot}) > 1


async def test_examples_are_cut_to_the_context_and_the_question_is_not(registry: ModelRegistry) -> None:
    example = AnswerExample(None, "what color is it? " * 20, "blue")
    async with registry.vlm() as live:
        reply, used = await live.answer(
            build_prompt(0, "what color is the shape?", examples=(example,) * 40), deadline_s=300
        )
        assert 0 < len(used) < 40
        assert used == tuple(range(len(used)))
        assert reply.text == shapes.list_shapes()[0][0]
        with pytest.raises(QuestionTooLongError):
            await live.answer(build_prompt(0, "what color is it? " * 500), deadline_s=300)


@pytest.mark.parametrize(
    "question",
    [
        "<image><image> what is this?",
        "what </s> is <pad> this?",
        "<ima<image>ge> what is this?",
        "\n\n?",
        "🦙" * 50,
    ],
)
async def test_control_tokens_in_a_question_are_text_without_power(
    registry: ModelRegistry, question: str
) -> None:
    for name in ("llava-shapes", "blip-shapes-vqa"):
        async with registry.vlm(name) as live:
            assert (await answer(live, build_prompt(0, question))).finish_reason in ("stop", "length")


async def test_an_address_as_a_question_is_not_fetched(registry: ModelRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/picture.png"
        for name in _names():
            async with registry.vlm(name) as live:
                example = AnswerExample(shapes.image(1), url, url)
                await answer(live, build_prompt(0, url, tokens=2, examples=(example,)))
        with pytest.raises(TimeoutError):
            listening.accept()


def _names() -> list[str]:
    return [
        folder.name
        for folder in CHECKPOINTS.iterdir()
        if folder.name.endswith(("-shapes", "-vqa")) and (folder / "model.safetensors").is_file()
    ]


async def test_leaving_stops_the_row_and_the_model_goes_on(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.vlm() as live:
        assert isinstance(live, LiveVlm)
        first = asyncio.Event()
        # an answer that would be whole before anybody could leave
        monkeypatch.setattr(live._vlm, "end_tokens", lambda: frozenset[int]())
        task = asyncio.create_task(
            live.answer(
                build_prompt(0, "describe the image.", tokens=400),
                deadline_s=300,
                on_text=lambda _: first.set(),
            )
        )
        await asyncio.wait_for(first.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.undo()
        assert (await answer(live, build_prompt(0, "what color is the shape?"))).text == shapes.list_shapes()[
            0
        ][0]


async def test_a_short_answer_overtakes_a_long_one_that_is_under_way(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.vlm() as live:
        assert isinstance(live, LiveVlm)
        vlm: Any = live._vlm
        read_tokens, steps = vlm.loop.decoder.read_tokens, 0

        def held(*args: Any) -> torch.Tensor:
            nonlocal steps
            steps += 1
            deadline = time.monotonic() + 20
            while steps == 1 and not live.stats().queue_depth and time.monotonic() < deadline:
                time.sleep(0.005)
            return read_tokens(*args)  # type: ignore[no-any-return]

        monkeypatch.setattr(vlm.loop.decoder, "read_tokens", held)
        monkeypatch.setattr(vlm, "end_tokens", lambda: frozenset[int]())
        first = asyncio.Event()
        long = asyncio.create_task(
            live.answer(
                build_prompt(0, "describe the image.", tokens=200),
                deadline_s=300,
                on_text=lambda _: first.set(),
            )
        )
        await asyncio.wait_for(first.wait(), 30)
        number = sorted(shapes.list_shapes())[1]
        short = await answer(live, build_prompt(number, "what color is the shape?", tokens=3))
        assert not long.done()
        reply, _ = await long
    assert (short.completion_tokens, reply.completion_tokens) == (3, 200)
    assert short.text.startswith(shapes.list_shapes()[number][0])


async def test_a_deadline_that_has_passed_is_named(registry: ModelRegistry) -> None:
    async with registry.vlm() as live:
        with pytest.raises(DeadlineExceededError):
            await live.answer(build_prompt(0, "what is this?"), deadline_s=0.0)


async def test_a_full_queue_refuses(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", vlm_max_queue=2, vlm_max_batch=1)
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    async with registry.vlm() as live:
        replies = await asyncio.gather(
            *[live.answer(build_prompt(0, "what is this?"), deadline_s=300) for _ in range(30)],
            return_exceptions=True,
        )
    refused = [reply for reply in replies if isinstance(reply, OverloadedError)]
    assert refused
    assert all(isinstance(reply, OverloadedError | tuple) for reply in replies)
    assert len(refused) < 30
    await registry.close()


async def test_an_adapter_changes_its_base(
    registry: ModelRegistry, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    import peft
    from transformers import LlavaForConditionalGeneration

    base = LlavaForConditionalGeneration.from_pretrained(CHECKPOINTS / "llava-shapes")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(base, config)
    adapted.save_pretrained(tmp_path / "adapter")
    described = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    described["base_model_name_or_path"] = "llava-shapes"
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(described))
    async with registry.vlm(str(tmp_path / "adapter")) as live:
        assert isinstance(live, LiveVlm)
        assert live.family == "llava"
        assert (await answer(live, build_prompt(0, "what is this?", tokens=4))).completion_tokens <= 4


async def test_weights_that_could_carry_code_are_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError, match="safetensors"):
        async with registry.vlm(str(folder)):
            pass


@pytest.mark.parametrize("name", ["nothing-here", "../etc", "", "lite"])
async def test_a_name_that_is_no_model_is_not_found(registry: ModelRegistry, name: str) -> None:
    with pytest.raises((ModelNotFoundError, ModelUnavailableError)):
        async with registry.vlm(name or " "):
            pass


async def test_one_registry_lists_both_kinds(registry: ModelRegistry) -> None:
    kinds = {model.name: model.kind for model in registry.list_models()}
    assert kinds["lite"] == "encoder"
    assert kinds["llava-shapes"] == kinds["blip-shapes-caption"] == "vlm"
    defaults = [model.name for model in registry.list_models() if model.default]
    assert defaults == ["llava-shapes", "lite"] or defaults == ["lite", "llava-shapes"]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (900, 3)])
async def test_images_of_any_shape_are_taken(registry: ModelRegistry, size: tuple[int, int]) -> None:
    for name in ("llava-shapes", "blip-shapes-vqa"):
        async with registry.vlm(name) as live:
            prompt = Prompt(Image.new("RGB", size, "red"), "what color is this?", "vqa", 4)
            assert (await answer(live, prompt)).completion_tokens
