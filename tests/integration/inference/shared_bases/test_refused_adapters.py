"""Adapters that are damaged, do not fit, or fail while they open: they are refused, and their base is as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.families import FAMILIES, files, levels
from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import load_vlm
from app.inference.errors import BaseModelChangedError, ModelUnavailableError
from app.inference.live_vlm import LiveVlm
from app.inference.opening import ModelOpener
from app.inference.registry import ModelRegistry
from app.inference.runtimes.notes import Note
from app.inference.sources import EncoderSource
from app.settings import Settings
from tests.engines import Squares, SquaresFamily, square
from tests.integration.inference.shared_bases.adapter_folders import (
    BASE,
    copy_with_own_base,
    rewrite,
)
from tests.made_engines import share_engines


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
