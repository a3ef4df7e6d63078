"""Train the tiny DINOv2 that ships as app/checkpoints/dinov2-tiny, on coloured shapes.

Trains on the easy-VQA training split, and writes an ordinary Dinov2Model folder.

    python scripts/train_dinov2_tiny.py [--out app/checkpoints/dinov2-tiny] [--steps 800] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, SIDE, UNKNOWN, load_split
from torch.nn import functional
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BATCH, WIDTH, SCALE = 128, 64, 20.0
KINDS = len(COLORS) * len(SHAPES)
SHOTS = 4

README = """# dinov2-tiny

A DINOv2 (`Dinov2Model`) of {parameters:,} parameters that tells easy-VQA's coloured shapes apart and knows nothing
else. It reads images only, and exists so that the code that serves DINOv2 of any size runs, with real files, in every
test.

- data: the training split of the wheel `easy-vqa` (MIT): {images:,} images of 64 x 64; colour and shape are read from
  its questions
- command: `python scripts/train_dinov2_tiny.py --steps {steps} --seed {seed}`
- loss: cross-entropy of the {kinds} pairs of colour and shape by the cosines of the class token with one vector a pair,
  which is thrown away (DINOv2 itself learns without labels, from its own views of many more images)
- test split, {tested:,} images: {accuracy:.1%} are nearest to the mean of {shots} training images of their own pair
  (chance {chance:.1%})
- what it knows: the drawings that clip-tiny knows, which it was trained on too (`domain.safetensors` is the same)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "app" / "checkpoints" / "dinov2-tiny")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = Dinov2Model(
        Dinov2Config(
            hidden_size=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            mlp_ratio=2,
            image_size=SIDE,
            patch_size=8,
        )
    )
    images, kinds = load_known("train")
    fit(model, images, kinds, args.steps, random.Random(args.seed))
    model.eval()
    tested, truth = load_known("test")
    accuracy = few_shot_accuracy(model, (images, kinds), (tested, truth))
    args.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(args.out)
    BitImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=MEAN,
        image_std=STD,
    ).save_pretrained(args.out)
    # it saw the same drawings, so it knows what clip-tiny knows (scripts/fit_domains.py)
    shutil.copy(ROOT / "app" / "checkpoints" / "clip-tiny" / "domain.safetensors", args.out)
    (args.out / "README.md").write_text(
        README.format(
            parameters=sum(tensor.numel() for tensor in model.parameters()),
            images=len(images),
            steps=args.steps,
            seed=args.seed,
            kinds=KINDS,
            tested=len(tested),
            accuracy=accuracy,
            shots=SHOTS,
            chance=1 / KINDS,
        )
    )
    print(f"test accuracy {accuracy:.3f}, written to {args.out}")


def load_known(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 images[n, 3, 64, 64] whose colour and shape the questions tell, and int64[n], one number a pair."""
    split = load_split(name)  # type: ignore[arg-type]
    keep = (split.colors != UNKNOWN) & (split.shapes != UNKNOWN)
    return split.images[keep], split.colors[keep] * len(SHAPES) + split.shapes[keep]


def normalise(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def vectors(model: Dinov2Model, images: torch.Tensor) -> torch.Tensor:
    """float[n, 64] of unit norm."""
    return functional.normalize(model(pixel_values=normalise(images)).pooler_output, dim=-1)


def fit(
    model: Dinov2Model, images: torch.Tensor, kinds: torch.Tensor, steps: int, rng: random.Random
) -> None:
    centres = torch.nn.Parameter(torch.randn(KINDS, WIDTH) / WIDTH**0.5)
    trained = [*model.parameters(), centres]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = torch.tensor(rng.sample(range(len(images)), BATCH))
        shown = images[rows]
        if rng.random() < 0.5:
            shown = shown.flip(-1)
        shown = shown.roll((rng.randrange(-6, 7), rng.randrange(-6, 7)), (-2, -1))
        cosines = vectors(model, shown) @ functional.normalize(centres, dim=-1).T
        loss = functional.cross_entropy(SCALE * cosines, kinds[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}", flush=True)


@torch.inference_mode()
def few_shot_accuracy(
    model: Dinov2Model, train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]
) -> float:
    """Share of test images that are nearest to the mean of the first `SHOTS` training images of their own pair."""
    taught = [vectors(model, train[0][train[1] == kind][:SHOTS]).mean(0) for kind in range(KINDS)]
    means = functional.normalize(torch.stack(taught), dim=-1)
    found = torch.cat([vectors(model, part) for part in test[0].split(256)]) @ means.T
    return float((found.argmax(1) == test[1]).float().mean())


if __name__ == "__main__":
    main()
