"""Fits what the shapes checkpoints know of the world, writes it beside their weights, and judges it on other images.

Fitted on easy-VQA's training split, on its variations that the checkpoints were trained on, and on drawings of other
sizes; the least cosine is chosen on more of the same. No photograph takes part in the fit.

    python -m scripts.fit_domains           fit, write and judge
    python -m scripts.fit_domains --judge   judge what is written
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import KMeans

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from easy_vqa_data import load_split
from shapes_drawings import drawing
from shapes_pixels import augment, take_apart

from app.inference.domain import Domain, read_domain, write_domain
from app.inference.protocols import Encoder
from app.inference.sources import CHECKPOINTS, DOMAIN_FILE
from benchmarks import image_sets

CARRIERS = sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{DOMAIN_FILE}"))
KNOWS = "drawings of one coloured shape (easy-VQA)"
CENTROIDS = 32
ACCEPTED = 0.995
"""Share of held-out images of each kind that must count as inside."""
_BATCH = 8
_EASY, _VARIED, _DRAWN = "easy-VQA images", "their variations", "drawings of other sizes"
_PHOTOS = "photographs and pictures of wheels"


def embed(model: Encoder, images: Iterable[Image.Image]) -> NDArray[np.float32]:
    """float32[n, d] of unit norm."""
    pixels = [model.preprocess(image) for image in images]
    parts = [
        model.encode_images(np.stack(pixels[start : start + _BATCH]))
        for start in range(0, len(pixels), _BATCH)
    ]
    return np.concatenate(parts)


def pictures(pixels: torch.Tensor) -> Iterator[Image.Image]:
    """uint8[n, 3, h, w] as images."""
    for image in pixels:
        yield Image.fromarray(image.permute(1, 2, 0).numpy())


def inside(model: Encoder, seed: int) -> dict[str, NDArray[np.float32]]:
    """Vectors of what the checkpoints know, by kind; another seed draws others."""
    split = load_split("train")
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    rows = torch.randperm(len(split.images), generator=torch.Generator().manual_seed(0))
    easy = rows[:1000] if seed == 0 else rows[1000:2000]
    varied = augment(take_apart(split.images), easy[:500], generator).clamp(0, 255).to(torch.uint8)
    return {
        _EASY: embed(model, pictures(split.images[easy])),
        _VARIED: embed(model, pictures(varied)),
        _DRAWN: embed(model, (drawing(rng) for _ in range(400))),
    }


def fit(model: Encoder) -> Domain:
    """Spherical k-means of one half; the least cosine by the other half."""
    vectors = np.concatenate(list(inside(model, 0).values()))
    centres = KMeans(CENTROIDS, n_init=4, random_state=0).fit(vectors).cluster_centers_
    rows = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    held_out = inside(model, 1).values()
    least = min(float(np.quantile((kind @ rows.T).max(axis=1), 1 - ACCEPTED)) for kind in held_out)
    return Domain(
        KNOWS,
        f"{model.name}@{model.fingerprint}",
        rows,
        np.full(len(rows), round(least, 3), np.float32),
    )


def judge(model: Encoder, domain: Domain) -> None:
    """Print the share that counts as inside of what was used neither to fit nor to choose."""
    rng, faces = random.Random(2), image_sets.faces(model)
    shown = {
        "easy-VQA, test split": embed(model, pictures(load_split("test").images)),
        f"{_DRAWN}, drawn anew": embed(model, (drawing(rng) for _ in range(400))),
        _PHOTOS: embed(model, photographs().values()),
        "the same, cropped, turned and relit": embed(
            model,
            (image_sets.damage_image(image, rng) for image in photographs().values() for _ in range(10)),
        ),
        "faces (25 x 25)": faces.vectors[faces.labels == 0],
        "walls and skies behind them (25 x 25)": faces.vectors[faces.labels == 1],
        "handwritten digits": image_sets.digits(model, half=0).vectors,
        "noise and ramps": embed(model, noise()),
    }
    print(f"least cosine {float(domain.least[0]):.3f}, {len(domain.rows)} centroids")
    for name, vectors in shown.items():
        nearest = (vectors @ domain.rows.T).max(axis=1)
        print(
            f"{name:40} {len(vectors):5d} images, inside {float(domain.covers(vectors).mean()):6.1%}, "
            f"cosine {nearest.min():.3f} to {nearest.max():.3f}"
        )


def photographs() -> dict[str, Image.Image]:
    """Every picture that scikit-image, scikit-learn and matplotlib bring along."""
    home = Path(skimage.__file__).parent / "data"
    files = [path for path in home.iterdir() if path.suffix in (".png", ".jpg", ".gif")]
    files += (Path(matplotlib.__file__).parent / "mpl-data" / "sample_data").glob("*.[jp][pn]g")
    found = {path.name: Image.open(path).convert("RGB") for path in sorted(files)}
    return found | {name: image_sets.photo(name) for name in ("china", "flower")}


def noise() -> Iterator[Image.Image]:
    """Coarse and fine noise, and ramps of grey."""
    rng = np.random.default_rng(0)
    for side in (8, 16, 32, 64, 128, 224) * 5:
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        yield Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    for turned in (ramp, ramp.T, 255 - ramp):
        yield Image.fromarray(turned).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", action="store_true", help="write nothing")
    model = image_sets.encoder("lite")
    if not parser.parse_args().judge:
        write_domain(fit(model), CHECKPOINTS / CARRIERS[0])
        for name in CARRIERS[1:]:
            shutil.copy(CHECKPOINTS / CARRIERS[0] / DOMAIN_FILE, CHECKPOINTS / name)
    written = read_domain(CHECKPOINTS / CARRIERS[0])
    if written is None:
        raise SystemExit("no domain is written")
    judge(model, written)


if __name__ == "__main__":
    main()
