"""Warm-up: a CLIP vision tower from random weights that tells colours and shapes apart.

The other training scripts start from its weights. What is right comes from the training split's questions
and answers; nothing here knows of language.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, UNKNOWN, load_split
from shapes_pixels import augment, normalise, take_apart
from shapes_training import train
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

TOWER = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 8,
    "projection_dim": 128,
}
HELD_BACK = 200
"""Training images that the warm-up never sees, to report progress on."""


class Namer(nn.Module):
    """Tower and two linear heads on the mean patch: pixels[b, 3, 64, 64] to logits[b, 8] and logits[b, 3]."""

    def __init__(self) -> None:
        super().__init__()
        config = CLIPVisionConfig(**TOWER)
        self.tower = CLIPVisionModel(config)
        self.color = nn.Linear(config.hidden_size, len(COLORS))
        self.shape = nn.Linear(config.hidden_size, len(SHAPES))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = self.tower(pixels).last_hidden_state[:, 1:]
        pooled = functional.layer_norm(patches.float(), patches.shape[-1:]).mean(1)
        return self.color(pooled), self.shape(pooled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/shapes"), help="where states and logs go")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    split = load_split("train")
    scenes = take_apart(split.images)
    seen = len(split.images) - HELD_BACK
    model = Namer()

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(seen, (options.batch,), generator=generator)
        pixels = normalise(augment(scenes, rows, generator))
        with torch.autocast("cpu", torch.bfloat16):
            colors, shapes = model(pixels)
        color_loss = functional.cross_entropy(colors.float(), split.colors[rows], ignore_index=UNKNOWN)
        return color_loss + functional.cross_entropy(shapes.float(), split.shapes[rows], ignore_index=UNKNOWN)

    def probe() -> str:
        colors, shapes = model(normalise(split.images[seen:].float()))
        told_c, told_s = split.colors[seen:], split.shapes[seen:]
        right_c = (colors.argmax(1) == told_c)[told_c != UNKNOWN].float().mean().item()
        right_s = (shapes.argmax(1) == told_s)[told_s != UNKNOWN].float().mean().item()
        return f"held-back training images: color {right_c:.3f} shape {right_s:.3f}"

    seconds = train(
        model,
        loss_of,
        steps=options.steps,
        state=options.work / "vision.pt",
        seed=options.seed,
        peak=options.lr,
        resume=options.resume,
        probe=probe,
    )
    model.tower.save_pretrained(options.work / "vision")
    print(f"vision tower in {options.work / 'vision'} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
