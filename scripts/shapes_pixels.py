"""easy-VQA images taken apart (outline, shape colour, background) and put together again elsewhere.

The augmentation moves, flips and scales the shape inside its frame and varies both colours a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation, as every checkpoint's image processor applies it."""


def normalise(images: torch.Tensor) -> torch.Tensor:
    """float[b, 3, h, w] in 0..255 to the pixel values that the vision towers expect."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images / 255 - mean) / std


@dataclass(frozen=True)
class Scenes:
    """outline[n, 64, 64] in 0..1, paint[n, 3] and ground[n, 3] in 0..255, box[n, 4] = x0, y0, x1, y1."""

    images: torch.Tensor
    outline: torch.Tensor
    paint: torch.Tensor
    ground: torch.Tensor
    box: torch.Tensor


def take_apart(images: torch.Tensor) -> Scenes:
    """uint8[n, 3, h, w], one plain shape on a plain ground each, to `Scenes`."""
    pixels = images.float()
    n, _, height, width = pixels.shape
    flat = pixels.flatten(2)
    ground = flat.median(dim=2).values
    distance = (flat - ground[:, :, None]).norm(dim=1)
    paint = flat.gather(2, distance.argmax(1)[:, None, None].expand(-1, 3, 1)).squeeze(2)
    direction = paint - ground
    along = ((flat - ground[:, :, None]) * direction[:, :, None]).sum(1)
    outline = (along / direction.square().sum(1, keepdim=True)).clamp(0, 1).view(n, height, width)
    columns, rows = outline.amax(1) > 0.1, outline.amax(2) > 0.1
    box = torch.stack(
        [
            columns.float().argmax(1),
            rows.float().argmax(1),
            width - columns.flip(1).float().argmax(1),
            height - rows.flip(1).float().argmax(1),
        ],
        dim=1,
    )
    return Scenes(images, outline, paint, ground, box)


def augment(scenes: Scenes, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fresh float[b, 3, h, w] in 0..255 for rows[b]: a third as they are, a third moved by whole pixels
    (crisp edges), a third also scaled."""
    outline, box = scenes.outline[rows], scenes.box[rows].float()
    count, height, width = outline.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    mode = torch.randint(3, (count,), generator=generator)
    mirror = torch.where(uniform(count) < 0.5, -1.0, 1.0)
    frame = torch.tensor([width, height], dtype=torch.float)
    size, centre = box[:, 2:] - box[:, :2], (box[:, 2:] + box[:, :2]) / 2
    largest = (frame / size).amin(1)
    scale = torch.where(mode == 2, torch.minimum(0.8 + 1.4 * uniform(count), largest), torch.ones(count))
    room = (frame - size * scale[:, None]).clamp(min=0)
    corner = uniform(count, 2) * room
    corner = torch.where((mode == 1)[:, None], corner.round(), corner)
    target = corner + size * scale[:, None] / 2
    # affine_grid maps where a pixel of the result comes from, in units of half a frame
    zoom = torch.zeros(count, 2, 3)
    zoom[:, 0, 0], zoom[:, 1, 1] = mirror / scale, 1 / scale
    from_centre, to_centre = centre / frame * 2 - 1, target / frame * 2 - 1
    zoom[:, :, 2] = from_centre - to_centre * torch.stack([mirror / scale, 1 / scale], 1)
    grid = functional.affine_grid(zoom, [count, 1, height, width], align_corners=False)
    moved = functional.grid_sample(outline[:, None], grid, mode="bilinear", align_corners=False)

    paint = (scenes.paint[rows] + 40 * (uniform(count, 3) - 0.5)).clamp(0, 255)[:, :, None, None]
    pastel = 255 - 30 * uniform(count, 3)
    ground = torch.where((uniform(count) < 0.5)[:, None], pastel, scenes.ground[rows])[:, :, None, None]
    changed = ground + moved * (paint - ground)
    return torch.where((mode == 0)[:, None, None, None], scenes.images[rows].float(), changed)
