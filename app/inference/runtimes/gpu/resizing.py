"""Images of one size brought to a model's size on its device: two matrix products, one along each axis.

A resampling filter is a sparse matrix with a row for each pixel that it makes, and cropping takes some of the rows. On
a GPU a product with the dense matrix costs about what reading the image does, knows no limit of scale (torch's own
antialiased kernels run out of shared memory beyond a 37th of the size) and exists on every device.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.preprocessing import BICUBIC, BILINEAR, Geometry, Preprocessing

MAX_MATRIX_BYTES = 64 << 20
"""For the matrices that are kept on the device, the most recently used first."""
FILTERS = (BILINEAR, BICUBIC)
_BICUBIC_A = -0.5
"""Pillow's, and torch's where it antialiases (Keys 1981)."""


class Axis(NamedTuple):
    """What happens to one axis: which of `size` pixels become which of the output's."""

    size: int
    start: float
    """First and end of the part that is resized, in pixels of the image."""
    end: float
    resized: int
    corner: int
    """The first pixel kept of the resized part, how many are, and where they lie in the output."""
    kept: int
    place: int
    output: int


def axes(geometry: Geometry, height: int, width: int) -> tuple[Axis, Axis]:
    """Rows and columns of a geometry for an image of that size."""
    top, left, bottom, right = geometry.box
    rows, columns = (
        Axis(
            size,
            start,
            end,
            geometry.resized[i],
            geometry.corner[i],
            geometry.kept[i],
            geometry.place[i],
            geometry.output[i],
        )
        for i, (size, start, end) in enumerate(((height, top, bottom), (width, left, right)))
    )
    return rows, columns


def matrix(axis: Axis, resample: int) -> NDArray[np.float32]:
    """float32[output, size]: what each pixel of the output takes of each pixel of the image; rows sum to 1, or to 0
    where the output is padded. As `precompute_coeffs` in Pillow's Resample.c, whose support is cut to whole pixels.
    """
    scale = (axis.end - axis.start) / axis.resized
    stretch = max(scale, 1.0)
    reach = (1.0 if resample == BILINEAR else 2.0) * stretch
    centre = axis.start + (axis.corner + np.arange(axis.kept)[:, None] + 0.5) * scale
    first = np.floor(np.maximum(centre - reach + 0.5, 0)).astype(np.int64)
    last = np.floor(np.minimum(centre + reach + 0.5, axis.size))
    pixel = first + np.arange(int(2 * reach) + 2)[None, :]  # of each row only what its filter can reach
    weights = np.where(pixel < last, _filter(np.abs(pixel - centre + 0.5) / stretch, resample), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    placed = np.zeros((axis.output, axis.size + pixel.shape[1]), np.float32)
    np.put_along_axis(placed[axis.place : axis.place + axis.kept], pixel, weights, axis=1)
    return np.ascontiguousarray(placed[:, : axis.size])


def _filter(distance: NDArray[np.float64], resample: int) -> NDArray[np.float64]:
    x = distance
    if resample == BILINEAR:
        return np.maximum(1.0 - x, 0.0)
    a = _BICUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


class Resizer:
    """Resizes and crops as a `Preprocessing` says; the matrices of sizes seen before are kept on the device."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        """Raises ValueError for a filter that is neither bilinear nor bicubic."""
        if preprocessing.resample not in FILTERS:
            raise ValueError(f"no matrix is known for the filter {preprocessing.resample}")
        self._preprocessing = preprocessing
        self._device = device
        # 16-bit floats hold 0 to 255 exactly, are multiplied at full speed, and sums are kept in 32 bits
        self._dtype = torch.float32 if device.type == "cpu" else torch.float16
        self._matrices: OrderedDict[Axis, torch.Tensor] = OrderedDict()
        self._matrix_bytes = 0

    def resize(self, pixels: torch.Tensor, target: torch.Tensor) -> None:
        """uint8[n, h, w, 3] into `target`, uint8[n, 3, *output]: clamped and rounded, as processors hand them on."""
        count, height, width, _ = pixels.shape
        rows, columns = self._pair(height, width)
        tall = torch.matmul(rows, pixels.to(self._dtype).view(count, height, width * 3))
        planes = tall.view(count, -1, width, 3).permute(0, 3, 1, 2).contiguous()
        self._finish(planes, columns, target)

    def resize_planes(self, planes: torch.Tensor, target: torch.Tensor) -> None:
        """The same for uint8[n, 3, h, w], as JPEG decoders on a device write it."""
        rows, columns = self._pair(planes.shape[2], planes.shape[3])
        self._finish(torch.matmul(rows, planes.to(self._dtype)), columns, target)

    def _finish(self, planes: torch.Tensor, columns: torch.Tensor, target: torch.Tensor) -> None:
        target.copy_(torch.matmul(planes, columns.T).round_().clamp_(0, 255))

    def _pair(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows, columns = axes(self._preprocessing.geometry(height, width), height, width)
        return self._matrix(rows), self._matrix(columns)

    def _matrix(self, axis: Axis) -> torch.Tensor:
        kept = self._matrices.get(axis)
        if kept is not None:
            self._matrices.move_to_end(axis)
            return kept
        made = torch.from_numpy(matrix(axis, self._preprocessing.resample))
        if self._device.type == "cuda":  # or the copy would wait for the batch that is being computed
            made = made.pin_memory().to(self._device, non_blocking=True)
        made = made.to(self._device, self._dtype)
        self._matrices[axis] = made
        self._matrix_bytes += made.nbytes
        while self._matrix_bytes > MAX_MATRIX_BYTES and len(self._matrices) > 1:
            self._matrix_bytes -= self._matrices.popitem(last=False)[1].nbytes
        return made
