"""The default encoder on real photographs: what it sees, what it reads, and that every runtime agrees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import transformers
from PIL import Image

from app.families.encoders import load_encoder, resolve
from app.families.lite import encoder as lite
from app.families.lite import networks, sentences
from app.families.lite.features import expected_features
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Encoder
from app.inference.resizing import normalise
from app.inference.sources import EncoderConfig
from scripts import imagenet_anchors
from tests.made_engines import link_engines

ROOT = Path(__file__).resolve().parents[3]
NAMES = (Path(lite.__file__).parent / "imagenet_names.txt").read_text().splitlines()


def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def config_in(folder: Path, runtime: str = "auto") -> EncoderConfig:
    return EncoderConfig("cpu", runtime, True, 0.99, 0, folder, allow_downloads=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_engines(tmp_path_factory.mktemp("lite"))


@pytest.fixture(scope="module")
def encoder(cache: Path) -> Encoder:
    return load_encoder(resolve("lite"), config_in(cache))


@pytest.fixture(scope="module")
def photos(encoder: Encoder) -> np.ndarray:
    """uint8[7, 3, 224, 224]"""
    names = ("chelsea", "coffee", "rocket", "camera", "coins", "brick", "horse")
    return np.stack([encoder.preprocess(photo(name)) for name in names])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {"tabby cat", "tiger cat", "Egyptian cat"}),
        ("coffee", {"espresso", "cup", "coffee mug"}),
        ("rocket", {"missile", "projectile", "space shuttle"}),
        ("camera", {"tripod", "reflex camera"}),
    ],
)
def test_photographs_get_their_imagenet_class(encoder: Encoder, name: str, expected: set[str]) -> None:
    module, classifier = networks.read_weights(networks.weights_path())
    with torch.inference_mode():
        features = module(torch.from_numpy(lite.prepare(photo(name)))[None])
        best = int((features @ classifier.weight.T + classifier.bias).argmax())
    assert expected & set(NAMES[best].split(", ")), NAMES[best]


@pytest.mark.parametrize("template", ["{}", "a photo of a {}"])
def test_labels_alone_recognise_photographs(encoder: Encoder, photos: np.ndarray, template: str) -> None:
    labels = ["cat", "dog", "cup of coffee", "rocket"]
    texts = encoder.encode_texts([template.format(label) for label in labels])
    logits = encoder.temperature * encoder.encode_images(photos[:3]) @ texts.T
    assert [labels[i] for i in logits.argmax(axis=1)] == ["cat", "cup of coffee", "rocket"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probabilities.max(axis=1).min() > 0.8


def test_the_shipped_class_vectors_are_those_of_the_names() -> None:
    shipped = np.load(networks.ANCHORS)["anchors"].astype(np.float32)
    assert shipped.shape == (len(NAMES), 384) == (1000, 384)
    some = [0, 281, 504, 657, 999]
    names = [imagenet_anchors.class_names()[i][0] for i in some]
    np.testing.assert_allclose(shipped[some], imagenet_anchors.anchors(names), atol=1e-3)


def test_texts_of_one_meaning_are_closer_than_texts_of_another(encoder: Encoder) -> None:
    cat, kitten, lorry = encoder.encode_texts(["a cat", "a small kitten", "a lorry on a motorway"])
    assert cat @ kitten > cat @ lorry + 0.3


def test_sentence_vectors_are_those_that_transformers_computes() -> None:
    texts = [
        "a photo of a cat",
        "",
        "Straße, été \u65e5\u672c \U0001f600",
        "word " * 300,
        "[MASK] 3.14 don't",
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(sentences.folder())
    model = transformers.AutoModel.from_pretrained(sentences.folder()).eval()
    tokens = tokenizer(
        texts, padding=True, truncation=True, max_length=sentences.MAX_TOKENS, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    np.testing.assert_allclose(sentences.SentenceEncoder().encode(texts), pooled, atol=2e-6)


def test_the_default_encoder_is_served_without_importing_transformers(cache: Path, encoder: Encoder) -> None:
    asked = """
import pathlib, sys
from PIL import Image
from app.families.encoders import load_encoder, resolve
from app.inference.sources import EncoderConfig
encoder = load_encoder(resolve("lite"), EncoderConfig("cpu", "auto", True, 0.99, 0, pathlib.Path(sys.argv[1]), False))
encoder.encode_images(encoder.preprocess(Image.new("RGB", (64, 64)))[None])
encoder.encode_texts(["a cat"])
assert "transformers" not in sys.modules
"""
    words = [sys.executable, "-c", asked, str(cache)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_unrelated_photographs_are_about_orthogonal(encoder: Encoder, photos: np.ndarray) -> None:
    vectors = encoder.encode_images(photos)
    others = (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)]
    assert abs(others).max() < 0.2


def test_vectors_are_float32_of_unit_norm(encoder: Encoder, photos: np.ndarray) -> None:
    for vectors in (
        encoder.encode_images(photos),
        encoder.encode_texts(["cat", "", "x" * 5000, "日本語 🐈"]),
    ):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == encoder.dim
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_a_batch_gives_what_its_items_give_alone(encoder: Encoder, photos: np.ndarray) -> None:
    alone = np.concatenate([encoder.encode_images(photos[i : i + 1]) for i in range(len(photos))])
    np.testing.assert_allclose(encoder.encode_images(photos), alone, atol=1e-4)
    texts = ["cat", "a much longer text about a cup of coffee on a table", "rocket"]
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_every_runtime_agrees_with_float32_torch(
    encoder: Encoder, photos: np.ndarray, cache: Path, runtime: str
) -> None:
    module, _ = networks.read_weights(networks.weights_path())
    with torch.inference_mode():
        level = module.before_last_stage(torch.from_numpy(normalise(photos, lite.STEPS)))
        parts = [module.last_stage(level).numpy(), level.mean(dim=(2, 3)).numpy()]
    roots = [np.sign(part) * np.sqrt(np.abs(part)) for part in parts]
    pooled, before = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in roots)
    centred = np.concatenate([pooled, 0.7 * before], axis=1) - expected_features(networks.build("roots"))
    reference = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    other = load_encoder(resolve("lite"), config_in(cache, runtime))
    assert runtime in other.runtime
    assert other.fingerprint == encoder.fingerprint
    exact = 0.9999 if "float32" in other.runtime else 0.99
    assert (other.encode_images(photos) * reference).sum(axis=1).min() >= exact


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (224, 224), (257, 255), (4000, 50)])
def test_any_size_and_mode_is_prepared(encoder: Encoder, size: tuple[int, int]) -> None:
    pixels = encoder.preprocess(Image.new("L", size, 128))
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.uint8
    assert (pixels == 128).all()
    np.testing.assert_allclose(lite.prepare(Image.new("L", size, 128)), (128 - 127) / 128, atol=1e-6)


def test_the_middle_of_the_image_counts(encoder: Encoder) -> None:
    image = Image.new("RGB", (512, 256), "black")
    image.paste((255, 255, 255), (144, 16, 368, 240))
    assert encoder.preprocess(image).min() == 255


def test_other_weights_are_refused_before_anything_is_unpickled(tmp_path: Path) -> None:
    altered = tmp_path / "weights.pth"
    shutil.copy(networks.weights_path(), altered)
    with altered.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(ModelUnavailableError, match="are not the published ones"):
        networks.read_weights(altered)
    with pytest.raises(ModelUnavailableError, match="are missing"):
        networks.read_weights(tmp_path / "nothing.pth")
