"""Measures what the centre of `lite`'s features takes from photos: ROOT_SHARE and LEVEL_SPREAD of
app/families/lite/variants.py, and how near the centre comes to the photos' own mean.

    python scripts/measure_lite_centre.py
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families.lite import encoder, networks
from app.families.lite.features import expected_features, join, level_norms, signed_root
from app.inference.runtimes.pruning import clipped_mean
from benchmarks.image_sets import OTHERS, damage_image, photo

VIEWS = 30


def main() -> None:
    rng = random.Random(7)
    pixels = []
    for name in OTHERS:
        image = photo(name)
        pixels += [
            encoder.prepare(view) for view in (image, *(damage_image(image, rng) for _ in range(VIEWS - 1)))
        ]
    module, _ = networks.build_rooted_lite0()
    with torch.inference_mode():
        parts = []
        for start in range(0, len(pixels), VIEWS):
            level = module.before_last_stage(torch.from_numpy(np.stack(pixels[start : start + VIEWS])))
            parts.append((module.last_stage(level), level.mean(dim=(2, 3))))
        pooled, levels = (torch.cat(side) for side in zip(*parts, strict=True))
        shares = signed_root(pooled).mean(dim=0) / pooled.mean(dim=0).clamp_min(1e-9).sqrt()
        deviation = level_norms(module)[1].sqrt()
        spreads = levels.std(dim=0) / deviation
        print(f"{len(pixels)} views of {len(OTHERS)} photos")
        print(f"ROOT_SHARE {shares.mean():.2f} (channels: {shares.std():.2f})")
        print(f"LEVEL_SPREAD {spreads.mean():.2f} (channels: {spreads.std():.2f})")
        own = join(pooled, levels).mean(dim=0).numpy()
        expected = clipped_mean(module.bn1).numpy()
        print(
            f"correlation of pooled means, photos and ImageNet: {np.corrcoef(pooled.mean(dim=0), expected)[0, 1]:.2f}"
        )
    centre = expected_features(module)
    cosine = centre @ own / (np.linalg.norm(centre) * np.linalg.norm(own))
    print(f"centre: length {np.linalg.norm(centre):.2f}, cosine to the photos' mean {cosine:.2f}")


if __name__ == "__main__":
    main()
