"""Write app/families/lite/imagenet_anchors.npz: one sentence vector for each ImageNet class.

Knows the class names and MiniLM; what the vectors are used for is app/families/text_mapping.py's.

    python scripts/imagenet_anchors.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.families import text_mapping  # noqa: E402
from app.families.lite import networks, sentences  # noqa: E402

TEMPLATES = ("{}", "a photo of a {}")
"""How labels reach the encoder: bare, and in the sentence that CLIP made customary."""


def class_names() -> list[list[str]]:
    """1,000 classes in index order, each with its names, the plainest first."""
    lines = networks.NAMES.read_text(encoding="utf-8").splitlines()
    return [line.split(", ") for line in lines]


def anchors(names: list[str]) -> np.ndarray:
    """float32[n, 384], unit norm: the mean of the templates' sentence vectors."""
    encoder = sentences.SentenceEncoder()
    vectors = [encoder.encode([template.format(name) for name in names]) for template in TEMPLATES]
    return text_mapping.unit(np.mean(vectors, axis=0))


def main() -> None:
    vectors = anchors([names[0] for names in class_names()])
    np.savez_compressed(networks.ANCHORS, anchors=vectors.astype(np.float16))
    print(f"{networks.ANCHORS.name}: {vectors.shape}, {networks.ANCHORS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
