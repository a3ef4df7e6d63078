"""The heads with the default encoder on real photos: one example a label, damaged views, strangers, made-up names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from app.collections.texts import prompts
from app.families.encoders import load_encoder, resolve
from app.heads import Head, SupportSet, fit_head, priors_of, zero_shot_head
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig
from tests.photos import TAUGHT, damage_photo, photo

STRANGERS = ("brick", "coins", "moon", "page", "astronaut", "grass", "gravel", "cell", "retina", "clock")
Vectors = np.ndarray


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("heads")
    return load_encoder(resolve("lite"), EncoderConfig("cpu", "onnx", False, 0.99, 0, folder, False))


@pytest.fixture(scope="module")
def taught(encoder: Encoder) -> Vectors:
    return embed_photos(encoder, [photo(name) for name in TAUGHT.values()])


@pytest.fixture(scope="module")
def views(encoder: Encoder) -> list[Vectors]:
    """By label, its photo rotated, cropped, darkened and so on."""
    return [
        embed_photos(encoder, [Image.open(io.BytesIO(data)) for data in damage_photo(photo(name)).values()])
        for name in TAUGHT.values()
    ]


@pytest.fixture(scope="module")
def strangers(encoder: Encoder) -> Vectors:
    return embed_photos(encoder, [photo(name) for name in STRANGERS])


def embed_photos(encoder: Encoder, images: list[Image.Image]) -> Vectors:
    return encoder.encode_images(np.stack([encoder.preprocess(image.convert("RGB")) for image in images]))


def read(encoder: Encoder, names: list[str]) -> Vectors:
    means = np.stack([encoder.encode_texts(prompts(name)).mean(axis=0) for name in names])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def fit_on_photos(encoder: Encoder, names: list[str], vectors: Vectors) -> Head:
    supports = SupportSet(encoder.dim)
    ids = list(range(len(names)))
    supports.add(np.array(ids), vectors)
    return fit_head(names, read(encoder, names), supports, ids, priors_of(encoder))


def test_the_shipped_priors_are_those_of_the_encoder(encoder: Encoder) -> None:
    """If not: python -m scripts.fit_priors"""
    assert priors_of(encoder).name == "lite"


@pytest.mark.parametrize("names", [list(TAUGHT), ["SKU-100", "SKU-101", "SKU-102", "SKU-103"]])
def test_one_photo_a_label_knows_damaged_views_and_refuses_strangers(
    encoder: Encoder, taught: Vectors, views: list[Vectors], strangers: Vectors, names: list[str]
) -> None:
    head = fit_on_photos(encoder, names, taught)
    for label, vectors in enumerate(views):
        scores = head.predict(vectors).scores
        assert (scores.argmax(axis=1) == label).all()
        assert (scores.max(axis=1) > 0.8).all()
        assert (scores.max(axis=1) >= head.threshold).all()
    refused = head.predict(strangers).scores.max(axis=1) < head.threshold
    assert refused[:2].all()
    assert refused.mean() >= 0.8


@pytest.mark.parametrize("label", range(len(TAUGHT)))
def test_a_single_label_is_told_from_everything_else(
    encoder: Encoder, taught: Vectors, views: list[Vectors], strangers: Vectors, label: int
) -> None:
    head = fit_on_photos(encoder, [list(TAUGHT)[label]], taught[label : label + 1])
    assert (head.predict(views[label]).scores[:, 0] >= head.threshold).all()
    others = np.concatenate([strangers, np.delete(taught, label, axis=0)])
    assert (head.predict(others).scores[:, 0] < head.threshold).mean() >= 0.8


def test_names_alone_find_cat_coffee_and_rocket(encoder: Encoder, taught: Vectors) -> None:
    names = ["cat", "dog", "cup of coffee", "rocket"]
    head = zero_shot_head(names, read(encoder, names), priors_of(encoder))
    scores = head.predict(taught[:3]).scores
    assert [names[best] for best in scores.argmax(axis=1)] == ["cat", "cup of coffee", "rocket"]
    assert (scores.max(axis=1) >= head.threshold).all()
