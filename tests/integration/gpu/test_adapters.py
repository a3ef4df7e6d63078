"""Trained variants of encoders, fed by the device as their bases are, with the CPU in its place."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import save_file

from app.families import hugging_face_adapter as adapter
from app.families.encoders import resolve
from app.families.hugging_face_adapter import PeftEncoder, load_peft
from app.families.lite import encoder as lite
from app.families.lite import networks
from app.families.lite.adapted import AdaptedLite
from app.inference.device import Device
from app.inference.live import LiveEncoder
from app.inference.protocols import Encoder, Vectors
from app.inference.runtimes import choice, gpu_runtime, parity
from app.inference.runtimes.gpu.runtime import GpuRuntime
from app.inference.sources import EncoderConfig, EncoderSource
from tests.pretended_device import Graphs

PHOTOS = parity.images(6)
MODELS: dict[str, Any] = {"clip-tiny": transformers.CLIPModel, "dinov2-tiny": transformers.Dinov2Model}


def config_in(folder: Path) -> EncoderConfig:
    return EncoderConfig(
        "cpu", "auto", True, 0.99, 1, folder, allow_downloads=False, max_batch=4, optimisation="none"
    )


def write_adapter(base: str, folder: Path, seed: int) -> Path:
    """Random changes, large enough to be seen."""
    torch.manual_seed(seed)
    model = MODELS[base].from_pretrained(resolve(base).location, local_files_only=True)

    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    made: Any = peft.get_peft_model(model, config)
    made.save_pretrained(folder)
    return folder


def opened(base: str, folder: Path, config: EncoderConfig) -> PeftEncoder:
    encoder = load_peft(EncoderSource("", folder.name, str(folder), True), {"base_model": base}, config)
    assert isinstance(encoder, PeftEncoder)
    return encoder


def plainly(encoder: Encoder) -> Vectors:
    return encoder.encode_images(np.stack([encoder.preprocess(photo) for photo in PHOTOS]))


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is taken for a GPU."""
    monkeypatch.setattr(
        adapter, "_on_gpu", lambda tower, config, device: gpu_runtime(tower, config, Device("cpu"))
    )
    monkeypatch.setattr(choice, "_running", choice.on_gpu)


def check_close(wanted: Vectors, found: Vectors) -> None:
    close = parity.compare(wanted, found)
    assert close.least >= 0.99
    assert close.mean >= 0.998


@pytest.mark.parametrize("base", MODELS)
async def test_adapters_over_one_base_are_fed_by_the_device(
    tmp_path: Path, request: pytest.FixtureRequest, base: str
) -> None:
    config = config_in(tmp_path)
    folders = [write_adapter(base, tmp_path / f"variant-{seed}", seed) for seed in range(2)]
    wanted = [plainly(opened(base, folder, config)) for folder in folders]
    assert parity.compare(*wanted).mean < 0.99, "the adapters must differ"
    request.getfixturevalue("on_device")
    encoders = [opened(base, folder, config) for folder in folders]
    assert encoders[0].bases == encoders[1].bases
    with ThreadPoolExecutor(2) as pool:
        lives = [
            LiveEncoder(encoder, pool=pool, max_batch=4, max_queue=64, max_cached_texts=4)
            for encoder in encoders
        ]
        for _ in range(2):
            found = await asyncio.gather(
                *(live.embed_images([np.array(photo) for photo in PHOTOS], deadline_s=60) for live in lives)
            )
            for vectors, eager in zip(found, wanted, strict=True):
                check_close(eager, vectors)
        for live in lives:
            await asyncio.to_thread(live.close)
    assert encoders[0].bases[0].adapters == []


def test_a_graph_of_one_adapter_goes_on_while_others_come_and_are_selected(
    tmp_path: Path, on_device: None
) -> None:
    config = config_in(tmp_path)
    one = opened("clip-tiny", write_adapter("clip-tiny", tmp_path / "one", 0), config)
    wanted = plainly(one)
    runtime = one._images
    assert isinstance(runtime, GpuRuntime)
    graphs = Graphs()
    runtime.forward._recorder = graphs
    runtime.record(4)
    two = opened("clip-tiny", write_adapter("clip-tiny", tmp_path / "two", 1), config)
    plainly(two)
    assert one.launcher is not None
    np.testing.assert_allclose(plainly(one), wanted, atol=1e-5)
    check_close(wanted, one.launcher.launch([np.array(photo) for photo in PHOTOS])())
    assert graphs.recorded[0].replays > 0
    assert one.runtime.endswith(", adapter")
    for encoder in (one, two):
        assert encoder.launcher is not None
        encoder.launcher.close()
        encoder.close()


def test_an_adapter_that_cannot_be_run_leaves_its_base_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_in(tmp_path)
    folder = write_adapter("clip-tiny", tmp_path / "one", 0)
    held = opened("clip-tiny", folder, config)

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(adapter, "_on_gpu", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        opened("clip-tiny", folder, config)
    assert len(held.bases[0].adapters) == 1
    held.close()


@pytest.mark.slow
def test_a_tail_of_lite_is_fed_by_the_device(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    module, _ = networks.read_weights(networks.weights_path())
    folder = tmp_path / "tail"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    weight = module.conv_head.weight.detach()
    noise = torch.randn(weight.shape, generator=generator) * weight.std()
    save_file({"conv_head.weight": weight + noise}, folder / lite.TAIL)
    source, config = (
        EncoderSource("lite", "tail", str(folder), True),
        replace(config_in(tmp_path), optimisation="auto"),
    )
    wanted = plainly(AdaptedLite(source, replace(config, optimisation="none"), "roots"))
    request.getfixturevalue("on_device")
    encoder = AdaptedLite(source, config, "roots")
    assert encoder.launcher is not None
    check_close(wanted, encoder.launcher.launch([np.array(photo) for photo in PHOTOS])())
    encoder.launcher.close()
