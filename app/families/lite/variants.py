"""The feature spaces that `lite` has had and has: their names, and everything that decides what their vectors are.

Imports no network, so that importing it is cheap.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

Variant = Literal["pooled", "roots", "pair"]
"""Pooled features of EfficientNet-Lite0; their roots beside those of what comes before the last stage; the latter of
Lite0 and Lite2."""
NAMES: dict[str, Variant] = {"lite-1280": "pooled", "lite-1472": "roots", "lite-2960": "pair"}
"""By the length of their vectors: what `lite` was first, what it is, and what it is where `VISION_LITE_QUALITY` is
`best`. A model that was trained over one of them is served by it whatever `lite` is now."""
DIMS: dict[Variant, int] = {variant: int(name.removeprefix("lite-")) for name, variant in NAMES.items()}
_BY_QUALITY: dict[str, Variant] = {"fast": "roots", "best": "pair"}

HERE = Path(__file__).resolve().parent
ANCHORS = HERE / "imagenet_anchors.npz"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WEIGHTS_2_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
SENTENCES_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SIDE = 224
CROP = 0.875
MAX_TOKENS = 128
EPSILON = 1e-4
"""x / sqrt(|x| + EPSILON) is the signed square root, but for a slope at 0 that training can follow."""
LEVEL_SHARE = 0.7
"""Length of the part before the last stage, of 1 for the pooled features; docs/encoders.md has what it is worth."""
ROOT_SHARE = 0.57
"""Mean root of a pooled feature, of the root of its mean: a feature is large in few images and small in most."""
LEVEL_SPREAD = 0.45
"""Deviation among images of a channel's mean over its places, of the deviation over all places.

Both measured on photos of scikit-image (scripts/measure_lite_centre.py)."""


def variant_of(name: str, quality: str) -> Variant:
    """The variant that a built-in model's name means where `VISION_LITE_QUALITY` is `quality`."""
    return NAMES.get(name) or _BY_QUALITY[quality]


@cache
def fingerprint(variant: Variant) -> str:
    """16 hex digits over everything that decides what a vector of that variant is."""
    digest = hashlib.sha256()
    digest.update(f"{WEIGHTS_SHA256} {SIDE} {CROP} bilinear (x-127)/128 centred".encode())
    digest.update(f"{SENTENCES_SHA256} {MAX_TOKENS}".encode())
    digest.update(ANCHORS.read_bytes())
    if variant != "pooled":
        digest.update(f"roots {EPSILON} {LEVEL_SHARE} {ROOT_SHARE} {LEVEL_SPREAD}".encode())
    if variant == "pair":
        digest.update(WEIGHTS_2_SHA256.encode())
    return digest.hexdigest()[:16]
