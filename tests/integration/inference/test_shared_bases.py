"""Adapters and their base share one copy of the weights, and none notices the others."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from app.families import FAMILIES, files, levels
from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import load_vlm
from app.inference.errors import BaseModelChangedError, ModelUnavailableError
from app.inference.live_vlm import LiveVlm
from app.inference.opening import ModelOpener
from app.inference.prompts import Prompt
from app.inference.registry import ModelRegistry
from app.inference.runtimes.notes import Note
from app.inference.shared_bases import BaseKey, SharedBase, share_base, tensor_bytes
from app.inference.sources import CHECKPOINTS, EncoderSource
from app.settings import Settings
from tests import shapes
from tests.engines import Squares, SquaresFamily, square
from tests.made_engines import share_engines

BASE = CHECKPOINTS / "llava-shapes"
ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest_asyncio.fixture
async def registry(tmp_path: Path, pool: ThreadPoolExecutor) -> AsyncIterator[ModelRegistry]:
    made = ModelRegistry(
        Settings(data_dir=share_engines(tmp_path / "data"), device="cpu"), FAMILIES, pool=pool
    )
    yield made
    await made.close()


def save_adapter(
    folder: Path, seed: int, layers: list[str], whole: list[str] | None = None, *, by: float = 0.3
) -> Path:
    """An adapter that changes what the base says, as peft writes it."""
    model = LlavaForConditionalGeneration.from_pretrained(BASE)
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, target_modules=layers, modules_to_save=whole)
    adapted: Any = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter += by * torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    noted = json.loads((folder / "adapter_config.json").read_text())
    rewrite(folder, base_model_name_or_path="llava-shapes", target_modules=sorted(noted["target_modules"]))
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One with a projector of its own, one without."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        save_adapter(folder / "first", 1, ATTENTION, ["multi_modal_projector"]),
        save_adapter(folder / "second", 2, ["q_proj", "up_proj"]),
    ]


def copy_with_own_base(adapters: list[Path], folder: Path) -> tuple[str, list[Path]]:
    """A base that no other model of this process shares, and the adapters over it."""
    base = shutil.copytree(BASE, folder / "own")
    (base / "note.txt").write_text(
        str(folder)
    )  # counts in the fingerprint, which is what models share a base by
    over = [shutil.copytree(adapter, folder / adapter.name) for adapter in adapters]
    for adapter in over:
        rewrite(adapter, base_model_name_or_path=str(base))
    return str(base), over


def prompts() -> list[Prompt]:
    questions = ["what color is the shape?", "what is this?", "describe the image.", "is it red?"]
    return [Prompt(shapes.image(number), question, "vqa", 8) for number, question in enumerate(questions)]


async def answer_prompts(registry: ModelRegistry, name: str) -> list[str]:
    async with registry.vlm(name) as live:
        answers = await asyncio.gather(*[live.answer(prompt, deadline_s=60) for prompt in prompts()])
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


async def test_an_adapter_of_another_version_of_its_base_says_so(
    registry: ModelRegistry, adapters: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dated"
    shutil.copytree(adapters[1], folder)
    noted = {"format": 1, "kind": "vlm", "tasks": ["vqa"], "base_model": "llava-shapes"}
    right = files.fingerprint(BASE, tmp_path)
    (folder / "vision.json").write_text(json.dumps({**noted, "base_fingerprint": right}))
    async with registry.vlm(str(folder)) as live:
        assert live.tasks == {"vqa"}
    await registry.close()
    later = ModelRegistry(Settings(data_dir=tmp_path, device="cpu"), FAMILIES, pool=ThreadPoolExecutor(1))
    (folder / "vision.json").write_text(json.dumps({**noted, "base_fingerprint": "0123456789abcdef"}))
    with pytest.raises(BaseModelChangedError, match="train it again"):
        async with later.vlm(str(folder)):
            pass
    await later.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
        ({"bias": "all"}, "'bias'"),
        ({"init_lora_weights": "pissa"}, "'init_lora_weights'"),
        ({"megatron_config": {}, "megatron_core": "os"}, None),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "'megatron_config'"),
        ({"target_modules": ["nothing_here"]}, "does not fit"),
        ({"r": 1_000_000_000}, "rank"),
        ({"r": "eight"}, "damaged"),
        ({"base_model_name_or_path": None}, "does not name its base"),
    ],
)
async def test_what_would_change_the_base_or_does_not_fit_is_refused(
    registry: ModelRegistry,
    adapters: list[Path],
    tmp_path: Path,
    changes: dict[str, object],
    sentence: str | None,
) -> None:
    own, [_, folder] = copy_with_own_base(adapters, tmp_path)
    rewrite(folder, **changes)
    async with registry.vlm(own) as base:
        assert isinstance(base, LiveVlm)
        shared_base: Any = base.bases[0]
        if sentence is None:
            async with registry.vlm(str(folder)):
                return
        with pytest.raises(ModelUnavailableError, match=sentence):
            async with registry.vlm(str(folder)):
                pass
        assert shared_base.adapters == []
        assert not any("peft" in type(module).__module__ for module in shared_base.module.modules())


@pytest.mark.parametrize("at", ["filling", "tasks", "trial", "measuring"])
def test_an_adapter_whose_opening_fails_half_way_leaves_nothing_with_its_base(
    adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, at: str
) -> None:
    settings = Settings(data_dir=share_engines(tmp_path / "data"), device="cpu")
    opener = ModelOpener(settings, FAMILIES, pool, None)
    own, over = copy_with_own_base(adapters, tmp_path)
    base = opener.open_vlm(FAMILIES.resolve("vlm", own))
    source = FAMILIES.resolve("vlm", str(over[0]))

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    def at_level(level: str) -> TransformersVlm:
        return load_vlm(source, opener.config)

    opening: Callable[[], object] = partial(opener.open_vlm, source)
    if at == "filling":
        monkeypatch.setattr("app.inference.adapters.set_peft_model_state_dict", fail)
    elif at == "tasks":
        monkeypatch.setattr("app.families.vlms.narrow_tasks", fail)
    elif at == "trial":
        monkeypatch.setattr(TransformersVlm, "generate", fail)
    else:
        monkeypatch.setattr("app.families.levels.parity.images", fail)
        opening = partial(levels.climb, at_level, "none", 0.9, Note(tmp_path / "note.json"))
    try:
        with pytest.raises(MemoryError):
            opening()
        shared_base: Any = base.bases[0]
        assert shared_base.adapters == []
        assert not any("peft" in type(module).__module__ for module in shared_base.module.modules())
    finally:
        base.close()


@pytest.mark.parametrize("broken", ["encode_images", "encode_texts"])
def test_an_encoder_that_fails_its_trial_gives_back_what_it_holds(
    tmp_path: Path, pool: ThreadPoolExecutor, broken: str
) -> None:
    """Such as an adapter, whose base others share, and the background work of one on a GPU."""
    given_back: list[str] = []

    class Launcher:
        largest_batch, reads_jpeg = 1, False

        def close(self) -> None:
            given_back.append("device memory")

    class Adapter(Squares):
        launcher = Launcher()

        def close(self) -> None:
            given_back.append("adapter")

    def fail(_: Any) -> Any:
        raise MemoryError

    encoder = Adapter(square)
    setattr(encoder, broken, fail)
    opener = ModelOpener(Settings(data_dir=tmp_path), SquaresFamily(encoder), pool, None)
    with pytest.raises(MemoryError):
        opener.open_encoder(EncoderSource("lite", "squares", "", is_local=True))
    assert given_back == ["device memory", "adapter"]


async def test_weights_of_another_shape_or_format_are_refused(
    registry: ModelRegistry, adapters: list[Path], tmp_path: Path
) -> None:
    for number, damage in enumerate((_pickled, _missing, _misshapen, _garbage)):
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(adapters[1], folder)
        damage(folder / "adapter_model.safetensors")
        with pytest.raises(ModelUnavailableError):
            async with registry.vlm(str(folder)):
                pass


def _pickled(path: Path) -> None:
    torch.save(load_file(path), path.with_name("adapter_model.bin"))
    path.unlink()


def _missing(path: Path) -> None:
    weights = load_file(path)
    weights.pop(sorted(weights)[0])
    save_file(weights, path)


def _misshapen(path: Path) -> None:
    save_file({name: tensor[:, :-1].contiguous() for name, tensor in load_file(path).items()}, path)


def _garbage(path: Path) -> None:
    path.write_bytes(b"not safetensors")


async def test_an_adapter_over_an_adapter_is_refused(
    registry: ModelRegistry, adapters: list[Path], tmp_path: Path
) -> None:
    for name, base in (("over", str(adapters[0])), ("itself", str(tmp_path / "itself"))):
        shutil.copytree(adapters[1], tmp_path / name)
        rewrite(tmp_path / name, base_model_name_or_path=base)
        with pytest.raises(ModelUnavailableError, match="over another adapter"):
            async with registry.vlm(str(tmp_path / name)):
                pass
