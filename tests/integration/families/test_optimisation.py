"""Levels of optimisation: what runs, how exact it is, and what is said where a level is refused or adds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from skimage import data as photos

from app.families import FAMILIES, levels
from app.families.encoders import load_encoder, resolve
from app.families.lite.efficientnet_lite import EfficientNetLite0
from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import load_vlm, resolve_vlm
from app.inference.optimisation import LEVELS, Optimisation, up_to
from app.inference.prompts import Prompt
from app.inference.protocols import Encoder, HasOptimisation
from app.inference.registry import ModelRegistry
from app.inference.runtimes import pruning
from app.inference.runtimes.notes import Note
from app.inference.sources import EncoderConfig
from app.settings import Settings


def config_in(folder: Path, level: str, parity: float = 0.99) -> EncoderConfig:
    return EncoderConfig("cpu", "auto", True, parity, 1, folder, allow_downloads=False, optimisation=level)


def optimisation_of(encoder: Encoder) -> Optimisation:
    assert isinstance(encoder, HasOptimisation)
    return encoder.optimisation


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of eager torch wait for each other wherever something else has one of the cores."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("levels")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [
        Image.fromarray(photo()).convert("RGB") for photo in (photos.chelsea, photos.coffee, photos.rocket)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-tiny", "lite"])
def test_every_level_stays_close_and_says_what_it_is_worth(
    cache: Path, pictures: list[Image.Image], name: str
) -> None:
    reference = None
    for level in LEVELS:
        encoder = load_encoder(resolve(name), config_in(cache, level))
        found = optimisation_of(encoder)
        assert found.asked == level
        assert found.level in up_to(level)
        assert (found.speed_up or 0) > 0
        assert (found.parity or 0) >= 0.99
        assert found.level == level or f"'{level}'" in str(found.note)
        vectors = encoder.encode_images(np.stack([encoder.preprocess(image) for image in pictures]))
        reference = vectors if reference is None else reference
        assert (vectors * reference).sum(axis=1).min() >= 0.98  # photographs, which the gate has not seen
    # measured once: what was found is what the next load says, engine and all
    again = load_encoder(resolve(name), config_in(cache, LEVELS[-1]))
    assert (optimisation_of(again), again.runtime) == (found, encoder.runtime)


def test_plain_torch_is_the_level_none(cache: Path) -> None:
    encoder = load_encoder(resolve("clip-tiny"), config_in(cache, "none"))
    assert encoder.runtime == "torch float32 cpu"
    assert optimisation_of(encoder) == Optimisation("none", "none", 1.0, 1.0)


@pytest.mark.slow
def test_a_level_that_is_not_exact_enough_is_refused_and_says_so(cache: Path) -> None:
    encoder = load_encoder(resolve("clip-tiny"), config_in(cache, "aggressive", parity=0.9999999))
    found = optimisation_of(encoder)
    assert found.level != "aggressive"
    assert "float32" in encoder.runtime
    assert "'aggressive' was refused" in str(found.note)
    assert "VISION_PARITY_COSINE" in str(found.note)


@pytest.mark.slow
def test_a_note_that_is_damaged_is_measured_again(cache: Path) -> None:
    load_encoder(resolve("lite"), config_in(cache, "basic"))
    for note in cache.rglob("level-*.json"):
        note.write_text('{"runtime": "onnx-float32", "optimisation": {"asked"')
    assert optimisation_of(load_encoder(resolve("lite"), config_in(cache, "basic"))).level == "basic"


async def test_a_live_model_shows_the_level_that_was_set_for_it(cache: Path) -> None:
    settings = Settings(
        data_dir=cache / "data", device="cpu", threads=1, optimisation="basic", optimisations="clip-tiny=none"
    )
    with ThreadPoolExecutor(1) as pool:
        registry = ModelRegistry(settings, FAMILIES, pool=pool)
        async with registry.encoder("clip-tiny"):
            [info] = registry.live()
        await registry.close()
    assert info.optimisation == Optimisation("none", "none", 1.0, 1.0)


def test_an_unknown_level_is_an_error_that_names_the_levels() -> None:
    with pytest.raises(ValidationError, match="'none', 'basic', 'standard' or 'aggressive'"):
        Settings(optimisation="fast")
    for wrong in ("lite=fast", "lite", "=none"):
        with pytest.raises(ValidationError, match="one of auto, none, basic, standard, aggressive"):
            Settings(optimisations=wrong)
    assert Settings(optimisations=" lite = none,clip-tiny=auto,").models.levels_by_model == {
        "lite": "none",
        "clip-tiny": "auto",
    }


@pytest.mark.slow
def test_pruning_shrinks_the_layers_that_it_prunes(cache: Path) -> None:
    encoder = load_encoder(resolve("lite"), config_in(cache, "none"))
    module = encoder._module()  # type: ignore[attr-defined]
    assert isinstance(module, EfficientNetLite0)
    before = sum(parameter.numel() for parameter in module.parameters())
    assert pruning.prune(module, 20) > 1_000
    assert sum(parameter.numel() for parameter in module.parameters()) < 0.9 * before
    with torch.inference_mode():
        assert module(torch.zeros(1, 3, 64, 64)).shape == (1, encoder.dim)


@pytest.fixture(scope="module")
def llava(cache: Path) -> TransformersVlm:
    return load_vlm(resolve_vlm("llava-shapes"), config_in(cache, "standard"))


def test_levels_change_nothing_for_answers_on_a_cpu_and_say_so(llava: TransformersVlm) -> None:
    assert llava.optimisation.level == "none"
    assert "change nothing" in str(llava.optimisation.note)


def test_answers_are_the_same_with_keys_and_values_of_fixed_size(
    llava: TransformersVlm, pictures: list[Image.Image]
) -> None:
    prompts = [
        Prompt(pictures[0], text, "vqa", 4)
        for text in ("what color is the shape?", "is there a red circle in the image?")
    ]
    plain = [answer.text for answer in llava.generate([llava.pack(prompt) for prompt in prompts])]
    llava.static_cache = True
    try:
        assert [answer.text for answer in llava.generate([llava.pack(prompt) for prompt in prompts])] == plain
    finally:
        llava.static_cache = False


@pytest.mark.slow
def test_a_level_is_climbed_by_comparing_answers(cache: Path, tmp_path: Path) -> None:
    """On a CPU every level opens the same weights, so the answers agree; one that knows fewer words is refused."""
    opened: list[str] = []

    def at(level: str) -> TransformersVlm:
        opened.append(level)
        vlm = load_vlm(resolve_vlm("llava-shapes"), config_in(cache, "none"))
        vlm.static_cache = level == "standard"
        return vlm

    note = Note(tmp_path / "level.json")
    vlm = levels.climb(at, "aggressive", 0.9, note)
    assert (vlm.optimisation.level, vlm.optimisation.parity) == ("standard", 1.0)
    assert "'aggressive' adds nothing" in str(vlm.optimisation.note)
    first = list(opened)
    assert levels.climb(at, "aggressive", 0.9, note).optimisation == vlm.optimisation
    assert opened == [*first, "standard"]

    def with_a_lisp(level: str) -> TransformersVlm:
        vlm = at(level)
        if level != "none":
            vlm.clean = lambda text: "what shape?"  # type: ignore[method-assign]
        return vlm

    refused = levels.climb(with_a_lisp, "basic", 0.9, Note(tmp_path / "other.json")).optimisation
    assert refused.level == "none"
    assert "'basic' was refused" in str(refused.note)
