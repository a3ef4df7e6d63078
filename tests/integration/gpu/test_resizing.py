"""Resizing by matrices against Pillow, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.preprocessing import BICUBIC, BILINEAR, Preprocessing
from app.inference.runtimes import parity
from app.inference.runtimes.gpu import resizing
from app.inference.runtimes.gpu.resizing import Resizer

WAYS = {
    "clip": Preprocessing((224, 224), shortest_edge=224),
    "siglip": Preprocessing((128, 128), fixed=(128, 128), resample=BILINEAR),
    "lite": Preprocessing((224, 224), share=0.875, resample=BILINEAR),
    "padded": Preprocessing((96, 96), shortest_edge=64),
    "cropped": Preprocessing((96, 112), shortest_edge=128, resample=BICUBIC),
}


def by_pillow(image: Image.Image, way: Preprocessing) -> NDArray[np.uint8]:
    """uint8[h, w, 3] as Pillow resizes."""
    geometry = way.geometry(image.height, image.width)
    top, left, bottom, right = geometry.box
    height, width = geometry.resized
    resized = np.asarray(image.resize((width, height), way.resample, box=(left, top, right, bottom)))
    output = np.zeros((*geometry.output, 3), np.uint8)
    (row, column), (rows, columns), (y, x) = geometry.corner, geometry.kept, geometry.place
    output[y : y + rows, x : x + columns] = resized[row : row + rows, column : column + columns]
    return output


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("size", [(320, 320), (640, 480), (301, 517), (40, 90), (2000, 131)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_pixels_are_those_of_pillow_within_rounding(
    name: str, size: tuple[int, int], dtype: torch.dtype
) -> None:
    way = WAYS[name]
    image = parity.images(1)[0].resize(size)
    resizer = Resizer(way, torch.device("cpu"))
    resizer._dtype = dtype  # what a GPU multiplies in
    pixels = torch.from_numpy(np.array(image))[None]
    target = torch.empty((1, 3, *way.output), dtype=torch.uint8)

    resizer.resize(pixels, target)

    difference = np.abs(target[0].permute(1, 2, 0).numpy().astype(int) - by_pillow(image, way))
    assert difference.max() <= 3  # Pillow rounds between its two passes, too
    assert difference.mean() < 0.3


def test_planes_and_rows_of_pixels_give_the_same() -> None:
    resizer = Resizer(WAYS["clip"], torch.device("cpu"))
    pixels = torch.randint(0, 256, (3, 70, 90, 3), dtype=torch.uint8)
    rows, planes = (torch.empty((3, 3, 224, 224), dtype=torch.uint8) for _ in range(2))
    resizer.resize(pixels, rows)
    resizer.resize_planes(pixels.permute(0, 3, 1, 2), planes)
    assert (rows.int() - planes.int()).abs().max() <= 1


def test_matrices_of_many_sizes_stay_within_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "MAX_MATRIX_BYTES", 500_000)
    resizer = Resizer(WAYS["clip"], torch.device("cpu"))
    target = torch.empty((1, 3, 224, 224), dtype=torch.uint8)
    for side in range(230, 260):
        resizer.resize(torch.zeros((1, side, side + 1, 3), dtype=torch.uint8), target)
    assert sum(kept.nbytes for kept in resizer._matrices.values()) <= 500_000


def test_other_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="filter 1"):
        Resizer(Preprocessing((8, 8), fixed=(8, 8), resample=1), torch.device("cpu"))
