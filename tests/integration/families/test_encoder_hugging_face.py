"""CLIP and SigLIP through transformers: our tiny CLIP on held-out pictures, random SigLIP, broken folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import easy_vqa
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from app.families.encoders import load_encoder, resolve
from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.protocols import Encoder
from app.inference.sources import CHECKPOINTS, EncoderConfig
from tests.made_engines import link_engines

TINY = CHECKPOINTS / "clip-tiny"
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")


def config_in(
    folder: Path, runtime: str = "auto", *, int8: bool = True, parity: float = 0.99
) -> EncoderConfig:
    return EncoderConfig("cpu", runtime, int8, parity, 0, folder, allow_downloads=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_engines(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(cache: Path) -> Encoder:
    return load_encoder(resolve("clip-tiny"), config_in(cache))


@pytest.fixture(scope="module")
def pictures() -> tuple[list[Image.Image], list[str]]:
    """200 test pictures and what is on each, as far as the test questions tell: "red circle"."""
    facts: dict[int, dict[str, str]] = {}
    for _, answer, image in zip(*easy_vqa.get_test_questions(), strict=True):
        kind = "color" if answer in COLORS else "shape" if answer in SHAPES else None
        if kind:
            facts.setdefault(image, {})[kind] = answer
    paths = easy_vqa.get_test_image_paths()
    known = [i for i in sorted(facts) if len(facts[i]) == 2][:200]
    images = [Image.open(paths[i]).convert("RGB") for i in known]
    return images, [f"{facts[i]['color']} {facts[i]['shape']}" for i in known]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


def test_texts_find_their_pictures(encoder: Encoder, pictures: tuple[list[Image.Image], list[str]]) -> None:
    images, truth = pictures
    assert len(images) == 200
    labels = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    texts = encoder.encode_texts([f"a photo of a {label}" for label in labels])
    vectors = encoder.encode_images(np.stack([encoder.preprocess(image) for image in images]))
    best = (vectors @ texts.T).argmax(axis=1)
    assert np.mean([labels[i] == t for i, t in zip(best, truth, strict=True)]) > 0.9


def test_vectors_are_float32_of_unit_norm(encoder: Encoder) -> None:
    pixels = np.stack([encoder.preprocess(Image.new("RGB", size)) for size in [(64, 64), (200, 31), (1, 1)]])
    assert pixels.shape == (3, 3, 64, 64)
    for vectors in (encoder.encode_images(pixels), encoder.encode_texts(["", "日本語", "word " * 500])):
        assert (vectors.dtype, vectors.shape) == (np.float32, (3, encoder.dim))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_a_batch_gives_what_its_items_give_alone(
    encoder: Encoder, pictures: tuple[list[Image.Image], list[str]]
) -> None:
    pixels = np.stack([encoder.preprocess(image) for image in pictures[0][:9]])
    alone = np.concatenate([encoder.encode_images(row[None]) for row in pixels])
    assert (encoder.encode_images(pixels) * alone).sum(axis=1).min() > 0.998
    texts = ["a red circle", "a photo of a black triangle", "teal"]
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("runtime", "int8", "expected", "exact"),
    [
        ("onnx", False, "onnxruntime float32 cpu", 0.99999),
        ("onnx", True, "onnxruntime", 0.999),  # on processors that cut off products of int8, too
        ("torch", False, "torch", 0.99),
    ],
)
def test_every_runtime_agrees_with_transformers(
    cache: Path,
    pictures: tuple[list[Image.Image], list[str]],
    runtime: str,
    int8: bool,
    expected: str,
    exact: float,
) -> None:
    encoder = load_encoder(resolve("clip-tiny"), config_in(cache, runtime, int8=int8))
    assert encoder.runtime.startswith(expected)
    pixels = np.stack([encoder.preprocess(image) for image in pictures[0][:16]])
    model = CLIPModel.from_pretrained(TINY).eval()
    with torch.inference_mode():
        own = CLIPImageProcessorPil.from_pretrained(TINY)(images=pictures[0][:16], return_tensors="pt")
        features = model.get_image_features(**own).pooler_output
    reference = torch.nn.functional.normalize(features).numpy()
    assert (encoder.encode_images(pixels) * reference).sum(axis=1).min() >= exact
    assert encoder.temperature == pytest.approx(model.logit_scale.exp().item(), rel=1e-5)


@pytest.mark.slow
def test_a_runtime_that_is_not_exact_enough_is_not_used(tmp_path: Path) -> None:
    encoder = load_encoder(resolve("clip-tiny"), config_in(tmp_path, parity=1.0))
    assert "float32" in encoder.runtime


@pytest.mark.slow
def test_an_engine_is_made_once_and_made_again_when_damaged(
    encoder: Encoder, cache: Path, copy: Path
) -> None:
    mine = cache / "once"
    first = load_encoder(resolve("clip-tiny"), config_in(mine, "onnx", int8=False))
    (engine,) = mine.rglob("model.onnx")
    made = engine.stat().st_mtime_ns
    load_encoder(resolve("clip-tiny"), config_in(mine, "onnx", int8=False))
    assert engine.stat().st_mtime_ns == made
    engine.write_bytes(b"not a model")
    again = load_encoder(resolve("clip-tiny"), config_in(mine, "onnx", int8=False))
    pixels = np.stack([encoder.preprocess(Image.new("RGB", (64, 64), "red"))])
    np.testing.assert_allclose(again.encode_images(pixels), first.encode_images(pixels), atol=1e-6)
    assert not list(mine.rglob(".making-*"))


def test_the_fingerprint_follows_weights_and_preprocessing(encoder: Encoder, copy: Path, cache: Path) -> None:
    config = config_in(cache, "torch", int8=False)
    same = load_encoder(resolve(str(copy)), config)
    assert same.fingerprint == encoder.fingerprint
    assert len(same.fingerprint) == 16
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0.4, 0.4, 0.4]}))
    assert load_encoder(resolve(str(copy)), config).fingerprint != encoder.fingerprint


def test_weights_that_can_carry_code_are_refused(copy: Path, cache: Path) -> None:
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="'copy' has no weights in safetensors"):
        load_encoder(resolve(str(copy)), config_in(cache))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        lambda folder: (folder / "preprocessor_config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "clip", "vision_config": 7}'),
        lambda folder: _drop_tensors(folder / "model.safetensors"),
    ],
    ids=["weights", "preprocessing", "configuration", "missing tensors"],
)
def test_a_damaged_folder_is_refused_in_one_sentence(copy: Path, tmp_path: Path, damage: object) -> None:
    damage(copy)  # type: ignore[operator]
    (copy / "processor_config.json").unlink()
    with pytest.raises(ModelUnavailableError, match=r"'copy' (are|is)") as caught:
        load_encoder(resolve(str(copy)), config_in(tmp_path / "cache", "onnx", int8=False))
    assert str(tmp_path) not in caught.value.detail


def test_without_downloads_a_hub_id_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="downloads are off"):
        load_encoder(resolve("nobody/no-such-clip"), config_in(tmp_path))


@pytest.mark.slow
def test_a_siglip_round_trips(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-siglip"
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json", "README.md"))
    shutil.copy(TINY / "tokenizer_config.json", folder)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = SiglipModel(
        SiglipConfig(
            text_config={**shared, "vocab_size": 1024, "max_position_embeddings": 16, "projection_size": 32},
            vision_config={**shared, "image_size": 32, "patch_size": 8},
        )
    ).eval()
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    encoder = load_encoder(resolve(str(folder)), config_in(tmp_path / "cache"))
    assert (encoder.family, encoder.dim, encoder.input_size) == ("siglip", 32, 32)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(3)]
    pixels = np.stack([encoder.preprocess(image) for image in images])
    with torch.inference_mode():
        own = SiglipImageProcessorPil.from_pretrained(folder)(images=images, return_tensors="pt")
        features = model.get_image_features(**own).pooler_output
    reference = torch.nn.functional.normalize(features).numpy()
    assert (encoder.encode_images(pixels) * reference).sum(axis=1).min() > 0.99
    alone, padded = (
        encoder.encode_texts(["red"]),
        encoder.encode_texts(["red", "a much longer text than that"]),
    )
    np.testing.assert_allclose(alone[0], padded[0], atol=1e-5)


def _drop_tensors(weights: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    save_file({n: t for n, t in tensors.items() if "layers.1" not in n}, weights, {"format": "pt"})
