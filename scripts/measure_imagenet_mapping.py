"""How well unseen class names find their classifier rows, and which temperature fits: prints two tables.

Knows the 1,000 ImageNet classes, MiniLM and Lite0's classifier; docs/encoders.md keeps what it prints.

    python scripts/measure_imagenet_mapping.py [pooled|roots|pair ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
import torch
from imagenet_anchors import TEMPLATES, class_names
from PIL import Image
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families import text_mapping
from app.families.lite import encoder as lite
from app.families.lite import networks, sentences
from app.families.lite.features import expected_features
from app.families.lite.variants import Variant

SEEDS = 10
HELD_OUT = 200
Mapping = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(anchors seen, rows seen, anchors asked) -> vectors"""


def ridge(strength: float) -> Mapping:
    def apply(anchors: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        mean = anchors.mean(axis=0)
        centred = (anchors - mean).astype(np.float64)
        gram = centred.T @ centred + strength * np.eye(anchors.shape[1])
        return (asked - mean) @ np.linalg.solve(gram, centred.T @ (rows - rows.mean(axis=0)))

    return apply


def conse(neighbours: int, temperature: float) -> Mapping:
    def apply(anchors: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        cosines = asked @ anchors.T
        nearest = np.argsort(-cosines, axis=1)[:, :neighbours]
        weights = np.exp(temperature * np.take_along_axis(cosines, nearest, axis=1))
        weights /= weights.sum(axis=1, keepdims=True)
        directions = text_mapping.unit(rows - rows.mean(axis=0))
        return np.einsum("nk,nkd->nd", weights, directions[nearest])

    return apply


def blend(one: Mapping, other: Mapping, share: float) -> Mapping:
    def apply(anchors: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
        a, b = (text_mapping.unit(mapping(anchors, rows, asked)) for mapping in (one, other))
        return (1 - share) * a + share * b

    return apply


def map_as_shipped(anchors: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return text_mapping.fit(anchors.astype(np.float32), rows.astype(np.float32)).apply(
        asked.astype(np.float32)
    )


def score(mapping: Mapping, seen: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> str:
    """Top-1 among the held-out classes, and the median rank among all 1,000, over seeds."""
    top, ranks = [], []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(rows))
        test, train = order[:HELD_OUT], order[HELD_OUT:]
        directions = text_mapping.unit(rows - rows[train].mean(axis=0))
        vectors = text_mapping.unit(mapping(seen[train], rows[train], asked[test]))
        cosines = vectors @ directions.T
        top.append((cosines[:, test].argmax(axis=1) == np.arange(HELD_OUT)).mean())
        own = cosines[np.arange(HELD_OUT), test][:, None]
        ranks.append(np.median((cosines > own).sum(axis=1) + 1))
    return f"{100 * np.mean(top):5.1f} +- {100 * np.std(top):3.1f} | {np.mean(ranks):5.1f}"


def photographs() -> list[Image.Image]:
    names = ("chelsea", "coffee", "rocket", "camera", "astronaut", "horse", "coins")
    photos = [Image.fromarray(getattr(skimage.data, name)()) for name in names]
    photos += [
        Image.fromarray(pixels)
        for pixels in (*load_sample_images().images, skimage.data.stereo_motorcycle()[0])
    ]
    return [photo.convert("RGB") for photo in photos]


def temperatures(anchors: np.ndarray, variant: Variant) -> None:
    """Cross-entropy of softmax(t cos) to the classifier's own probabilities, on crops of photographs.

    The label sets hold the crop's most probable class among random others; a fifth of the classes
    at a time is held out of the fit ("unseen"), or none ("seen").
    """
    module, classifier = networks.read_weights(networks.weights_path())
    rng = np.random.default_rng(0)
    pixels = []
    for photo in photographs():
        for _ in range(12):
            side = int(min(photo.size) * np.sqrt(rng.uniform(0.35, 1)))
            left, top = (int(rng.integers(0, edge - side + 1)) for edge in photo.size)
            pixels.append(lite.prepare(photo.crop((left, top, left + side, top + side))))
    with torch.inference_mode():
        features = torch.cat(
            [module(torch.from_numpy(np.stack(pixels[i : i + 12]))) for i in range(0, len(pixels), 12)]
        )
        chances = torch.softmax(features @ classifier.weight.T + classifier.bias, dim=1).numpy()
        built = networks.build(variant)
        found = torch.cat(
            [built(torch.from_numpy(np.stack(pixels[i : i + 12]))) for i in range(0, len(pixels), 12)]
        )
    vectors = text_mapping.unit(found.numpy() - expected_features(built))
    rows = networks.named_classes(variant)[0]
    unseen = np.empty_like(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    for fold in range(5):
        test = order[fold::5]
        train = np.setdiff1d(order, test)
        unseen[test] = map_as_shipped(anchors[train], rows[train], anchors[test])
    sure = np.flatnonzero(chances.max(axis=1) > 0.15)
    grid = (10, 20, 25, 30, 35, 40, 60)
    print(f"\n{variant}: {len(sure)} crops | labels | right | " + " | ".join(f"t={t}" for t in grid))
    for name, texts in (("unseen", unseen), ("seen", map_as_shipped(anchors, rows, anchors))):
        for count in (5, 20, 100):
            right, losses = 0, np.zeros(len(grid))
            for crop in sure:
                best = int(chances[crop].argmax())
                others = rng.choice(np.delete(np.arange(len(rows)), best), count - 1, replace=False)
                labels = np.array([best, *others])
                target = chances[crop, labels] / chances[crop, labels].sum()
                cosines = texts[labels] @ vectors[crop]
                right += int(cosines.argmax() == 0)
                for k, t in enumerate(grid):
                    losses[k] -= target @ (t * cosines - np.log(np.exp(t * cosines).sum()))
            shown = " | ".join(f"{loss / len(sure):.3f}" for loss in losses)
            print(f"{name} | {count} | {right / len(sure):.2f} | {shown}")


def main() -> None:
    names = class_names()
    _, classifier = networks.read_weights(networks.weights_path())
    rows = classifier.weight.double().numpy()
    encoder = sentences.SentenceEncoder()
    first = [each[0] for each in names]
    bare = encoder.encode(first)
    both = text_mapping.unit(
        np.mean([encoder.encode([t.format(n) for n in first]) for t in TEMPLATES], axis=0)
    )
    owner = np.repeat(np.arange(len(names)), [len(each) for each in names])
    every = encoder.encode([name for each in names for name in each])
    synonyms = text_mapping.unit(np.stack([every[owner == i].mean(axis=0) for i in range(len(names))]))
    print("mapping | seen as | asked as | top-1 of 200 | median rank of 1,000")
    sets = {"first name": bare, "all names": synonyms, "both templates": both}
    for seen, asked in (
        ("first name", "first name"),
        ("all names", "first name"),
        ("both templates", "first name"),
        ("both templates", "both templates"),
    ):
        print(f"ridge 1 | {seen} | {asked} | {score(ridge(1), sets[seen], rows, sets[asked])}")
    tries = {f"ridge {s}": ridge(s) for s in (0.1, 0.3, 3, 10)}
    tries |= {f"ConSE {k} nearest, t {t}": conse(k, t) for k, t in ((5, 10), (10, 10), (10, 20), (1000, 20))}
    tries |= {
        f"ridge 1 + ConSE 10/10, share {s}": blend(ridge(1), conse(10, 10), s) for s in (0.25, 0.5, 0.75)
    }
    for name, mapping in {**tries, "as shipped": map_as_shipped}.items():
        print(f"{name} | both templates | both templates | {score(mapping, both, rows, both)}")
    for variant in sys.argv[1:] or ("pooled", "roots"):
        temperatures(both, variant)


if __name__ == "__main__":
    main()
