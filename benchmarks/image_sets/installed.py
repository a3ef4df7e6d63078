"""Labelled image sets that the packages of this environment carry: nothing is fetched for them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable
from pathlib import Path

import easy_vqa
import numpy as np
import skimage
import skimage.data
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images

from app.inference.protocols import Encoder
from benchmarks.image_sets.embedding import ImageSet, embed

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOWN = {
    "chelsea": "cat",
    "coffee": "cup of coffee",
    "rocket": "rocket",
    "camera": "man with a camera",
    "brick": "brick wall",
    "coins": "coins",
}
"""Photos that the benchmark and the acceptance tests show: priors are never fitted on them."""
OTHERS = {
    "astronaut": "astronaut",
    "grass": "grass",
    "gravel": "gravel",
    "hubble_deep_field": "galaxies",
    "immunohistochemistry": "tissue under a microscope",
    "retina": "retina",
    "moon": "moon",
    "page": "page of a book",
    "horse": "silhouette of a horse",
    "cell": "cell under a microscope",
    "text": "handwritten formulas",
    "clock": "clock",
    "microaneurysms": "blood vessels of an eye",
    "colorwheel": "color wheel",
    "logo": "logo",
    "motorcycle": "motorcycle",
    "china": "chinese temple",
    "flower": "flower",
}
"""Photo -> what it shows."""


def digits(model: Encoder, *, half: int) -> ImageSet:
    """scikit-learn's handwritten digits (8 x 8 pixels), 40 of each from the first or the second half."""

    def images() -> Iterable[tuple[Image.Image, int]]:
        data = load_digits()
        for digit in range(10):
            rows = np.flatnonzero(data.target == digit)
            middle = len(rows) // 2
            for row in (rows[:middle], rows[middle:])[half][:40]:
                grey = (255 - data.images[row] * 15.9).astype(np.uint8)
                big = Image.fromarray(grey).resize((96, 96), Image.Resampling.BICUBIC)
                yield big.convert("RGB"), digit

    return embed(model, f"digits-{half}", images, tuple(f"handwritten digit {digit}" for digit in DIGITS))


def shapes(model: Encoder, *, split: str) -> ImageSet:
    """easy-VQA's coloured shapes (64 x 64 pixels) of a split, 25 of each colour and shape."""

    def images() -> Iterable[tuple[Image.Image, int]]:
        paths = easy_vqa.get_train_image_paths() if split == "train" else easy_vqa.get_test_image_paths()
        ask = easy_vqa.get_train_questions if split == "train" else easy_vqa.get_test_questions
        color: dict[int, int] = {}
        shape: dict[int, int] = {}
        for _question, answer, image in zip(*ask(), strict=True):
            if answer in COLORS:
                color[image] = COLORS.index(answer)
            elif answer in SHAPES:
                shape[image] = SHAPES.index(answer)
        taken = [0] * (len(COLORS) * len(SHAPES))
        for image in sorted(color.keys() & shape.keys()):
            label = color[image] * len(SHAPES) + shape[image]
            taken[label] += 1
            if taken[label] <= 25:
                yield Image.open(paths[image]).convert("RGB"), label

    names = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    return embed(model, f"shapes-{split}", images, names)


def photos(model: Encoder, which: dict[str, str], name: str) -> ImageSet:
    """Photos of scikit-image and scikit-learn: each is a class of 30, the photo itself and damaged views of it."""

    def images() -> Iterable[tuple[Image.Image, int]]:
        rng = random.Random(7)
        for label, photo_name in enumerate(which):
            image = photo(photo_name)
            yield image, label
            for _ in range(29):
                yield damage_image(image, rng), label

    return embed(model, name, images, tuple(which.values()))


def faces(model: Encoder) -> ImageSet:
    """scikit-image's excerpt of Labeled Faces in the Wild (25 x 25 pixels): 100 faces, 100 that are none."""

    def images() -> Iterable[tuple[Image.Image, int]]:
        data = np.load(Path(skimage.__file__).parent / "data" / "lfw_subset.npy")
        for row in range(len(data)):
            grey = Image.fromarray((np.clip(data[row], 0, 1) * 255).astype(np.uint8))
            yield grey.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB"), int(row >= 100)

    return embed(model, "faces", images, ("human face", "background"))


def photo(name: str) -> Image.Image:
    """A photo by its short name."""
    if name in ("china", "flower"):
        return Image.fromarray(load_sample_images().images[name == "flower"])
    if name == "motorcycle":
        return Image.open(Path(skimage.__file__).parent / "data" / "motorcycle_left.png").convert("RGB")
    pixels = getattr(skimage.data, name)()
    return Image.fromarray((pixels * 255).astype(np.uint8) if pixels.dtype == bool else pixels).convert("RGB")


def damage_image(image: Image.Image, rng: random.Random) -> Image.Image:
    """A crop of 12 to 100% of the area, turned, relit, shrunk and saved as a poor JPEG, by chance."""
    width, height = image.size
    part = rng.uniform(0.35, 1.0)
    left, top = (rng.randint(0, int(edge * (1 - part))) for edge in image.size)
    image = image.crop((left, top, left + int(width * part), top + int(height * part)))
    if rng.random() < 0.5:
        image = image.rotate(rng.uniform(-40, 40), expand=rng.random() < 0.5, fillcolor=(127, 127, 127))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.35, 1.5))
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.3, 1.5))
    if rng.random() < 0.3:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = rng.choice((96, 160, 256, 512))
    image.thumbnail((side, side))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=rng.choice((10, 30, 60, 90)))
    return Image.open(sink).convert("RGB")
