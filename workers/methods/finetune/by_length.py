"""The order of training examples in which a batch holds texts of about one length, since padding is computed too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

_BATCHES = 16
"""Batches that are sorted together: the more, the less padding, and the less mixed an epoch."""

_FULL = 0.75
"""Share of a batch that is no padding from which on sorting is not worth its price."""


def differ_much(lengths: Sequence[int]) -> bool:
    """Whether padding would be a good part of mixed batches.

    Where one question has short answers, their lengths are nearly their labels: batches of one label each taught an
    Idefics of this project in 12 steps to a loss of .67 instead of .12.
    """
    return len(lengths) > 0 and float(np.mean(lengths)) < _FULL * max(lengths)


class ByLength(torch.utils.data.Sampler[int]):
    """Every example once an epoch. The order follows from the seed and the epoch alone: it is the same on every rank,
    and after a run was taken up again.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        """`batch` is how many examples are computed together, over all ranks."""
        self._lengths, self._batch, self._seed = np.asarray(lengths), batch, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer tells which epoch the next order is for."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._lengths))
        window = _BATCHES * self._batch
        batches: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(-self._lengths[part], kind="stable")]
            batches += [part[place : place + self._batch] for place in range(0, len(part), self._batch)]
        rest = (
            [batches.pop()] if batches and len(batches[-1]) < self._batch else []
        )  # smaller: it ends the epoch
        for index in rng.permutation(len(batches)):
            yield from batches[index].tolist()
        for part in rest:
            yield from part.tolist()
