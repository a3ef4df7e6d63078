"""Adapters and their base share one copy of the weights, and none notices the others."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from app.families import FAMILIES
from app.inference.live_vlm import LiveVlm
from app.inference.prompts import Prompt
from app.inference.registry import ModelRegistry
from app.inference.shared_bases import BaseKey, SharedBase, share_base, tensor_bytes
from app.settings import Settings
from tests import shapes
from tests.integration.inference.shared_bases.adapter_folders import (
    BASE,
    copy_with_own_base,
)
from tests.made_engines import share_engines


def prompts() -> list[Prompt]:
    questions = ["what color is the shape?", "what is this?", "describe the image.", "is it red?"]
    return [Prompt(shapes.image(number), question, "vqa", 8) for number, question in enumerate(questions)]


async def answer_prompts(registry: ModelRegistry, name: str) -> list[str]:
    async with registry.vlm(name) as live:
        answers = await asyncio.gather(*[live.answer(prompt, deadline_s=300) for prompt in prompts()])
    return [answer.text for answer, _ in answers]


async def test_base_and_adapters_answer_as_if_each_were_alone(
    registry: ModelRegistry, adapters: list[Path], tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    names = ["llava-shapes", *map(str, adapters)]
    alone = []
    for name in names:
        lone = ModelRegistry(
            Settings(data_dir=share_engines(tmp_path / "data"), device="cpu"), FAMILIES, pool=pool
        )
        alone.append(await answer_prompts(lone, name))
        await lone.close()
    assert len({tuple(answers) for answers in alone}) == 3
    for name in names:
        async with registry.vlm(name):
            pass
    for _ in range(2):
        together = await asyncio.gather(*[answer_prompts(registry, name) for name in names])
        assert list(together) == alone


async def test_a_base_is_in_memory_once(registry: ModelRegistry, adapters: list[Path]) -> None:
    async with registry.vlm("llava-shapes"):
        pass
    [base] = registry.live()
    for folder in adapters:
        async with registry.vlm(str(folder)):
            pass
    sizes = {model.name: model.memory_bytes or 0 for model in registry.live()}
    assert sizes["llava-shapes"] == base.memory_bytes
    for folder in adapters:
        weights = load_file(folder / "adapter_model.safetensors")
        assert sizes[folder.name] == sum(
            weight.numel() * weight.element_size() for weight in weights.values()
        )


async def test_an_adapter_alone_is_charged_for_its_base(
    registry: ModelRegistry, adapters: list[Path]
) -> None:
    async with registry.vlm(str(adapters[1])):
        pass
    [lone] = registry.live()
    assert (lone.memory_bytes or 0) > 4_000_000


async def test_unloading_an_adapter_frees_it_and_the_last_model_frees_the_base(
    tmp_path: Path, pool: ThreadPoolExecutor, adapters: list[Path]
) -> None:
    settings = Settings(data_dir=share_engines(tmp_path / "data"), device="cpu")
    models = ModelRegistry(settings, FAMILIES, pool=pool)
    own, over = copy_with_own_base(adapters, tmp_path)
    before = await answer_prompts(models, own)
    async with models.vlm(str(over[0])) as first, models.vlm(str(over[1])) as second:
        assert isinstance(first, LiveVlm)
        assert isinstance(second, LiveVlm)
        base: Any = first.bases[0]
        assert second.bases == (base,)
        assert len(base.adapters) == 2
    del first, second
    await models.close()
    assert base.adapters == []
    assert tensor_bytes(base.module) == base.memory_bytes
    assert not any("peft" in type(module).__module__ for module in base.module.modules())
    again = ModelRegistry(settings, FAMILIES, pool=pool)
    assert await answer_prompts(again, own) == before
    await again.close()
    module = weakref.ref(base.module)
    del base
    gc.collect()
    assert module() is None


def test_one_adapter_goes_while_others_stay(adapters: list[Path]) -> None:
    base = share_base(
        BaseKey("test", "cpu", "float32"), lambda: LlavaForConditionalGeneration.from_pretrained(BASE)
    )
    inputs = _inputs(base.module)

    def logits(name: str | None) -> torch.Tensor:
        with base.using(name) as module, torch.inference_mode():
            found: torch.Tensor = module(**inputs).logits
            return found

    bare = logits(None)
    names = [base.load(folder) for folder in adapters]
    alone = [logits(name) for name in names]
    for gone, kept in ((0, 1), (1, 0)):
        base.remove(names[gone])
        base.remove(names[gone])  # once more is no error
        assert torch.equal(logits(names[kept]), alone[kept])
        assert torch.equal(logits(None), bare)
        with pytest.raises(KeyError), base.using(names[gone]):
            pass
        names[gone] = base.load(adapters[gone])
        assert torch.equal(logits(names[gone]), alone[gone])
        assert torch.equal(logits(names[kept]), alone[kept])


def _inputs(module: Any) -> dict[str, torch.Tensor]:
    ids = [1, *[module.config.image_token_id] * 64, 300, 301]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return {"input_ids": torch.tensor([ids]), "pixel_values": pixels}


def test_two_busy_models_take_turns() -> None:
    base = SharedBase(BaseKey("turns", "cpu", "float32"), torch.nn.Linear(1, 1))
    order: list[str] = []
    started = threading.Barrier(2)

    def work(name: str) -> None:
        started.wait()
        for _ in range(50):
            with base.using(None):
                order.append(name)
                time.sleep(0.001)  # long enough for the other to ask, as a forward pass is

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = sum(name != other for name, other in itertools.pairwise(order))
    assert changes > 80
