"""Which examples are nearly the same picture, and which labels are so alike that they cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.heads.head import Head
from app.heads.types import Doubles, Floats, Ints

NEAR_DUPLICATE = 0.98
"""Cosine above which two images are taken for the same picture."""
MAX_PAIRS = 200_000
"""So many pairs are looked at; a collection of nothing but one picture would have millions."""
OVERLAP_SHARE = 0.15
"""Share of two labels' examples, told as the other one when left out, from which the labels overlap."""
MIN_CONFUSED = 2
"""Fewer such examples may be mistakes of whoever taught them."""

_SKETCH = 64
_SAMPLE = 2_000
_ROWS, _COLUMNS = 512, 2_048
_EXACT_ROWS = 1_024
_DENSE = 0.02
"""Share of a block's pairs from which all are compared at once."""
_SLACK = 1e-4
"""What rounding may take from a bound in float32."""


class Pairs(NamedTuple):
    """Examples that are nearly the same picture: a forest that joins each group of them."""

    rows: Ints
    """int64[m, 2]"""
    cosines: Floats
    """float32[m]"""
    is_whole: bool
    """Whether all pairs were looked at."""


class Overlap(NamedTuple):
    """Two labels that cannot be told apart well."""

    labels: tuple[int, int]
    confused: int
    """Examples of the two that are told as the other one when left out; 0 where none was left out."""
    left_out: int
    """Examples of the two that were left out."""
    across: float
    """Mean cosine of an example of the one and one of the other; NaN where no row of one of them was given."""
    within: float
    """Mean cosine of two examples of the same label, of both labels."""


def near_duplicates(vectors: Floats, labels: Ints, least: float = NEAR_DUPLICATE) -> Pairs:
    """Pairs of the unit rows float32[n, d] whose cosine is above `least`: of each group that such pairs join as many as
    join it, those of different `labels` int64[n] first, then the most alike.

    Exact, and in blocks: at no time are there more than `_ROWS` x `_COLUMNS` cosines. A cosine is at most the product
    of short sketches, so that few pairs of long vectors are multiplied.
    """
    sketches = _sketch(vectors)
    found: list[Ints] = []
    cosines: list[Floats] = []
    count = 0
    for top in range(0, len(vectors), _ROWS):
        for left in range(top, len(vectors), _COLUMNS):
            rows, values = _compare(vectors, sketches, top, left, least)
            found.append(rows)
            cosines.append(values)
            count += len(rows)
            if count > MAX_PAIRS:
                return _forest(np.concatenate(found), np.concatenate(cosines), labels, is_whole=False)
    if not count:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0, np.float32), is_whole=True)
    return _forest(np.concatenate(found), np.concatenate(cosines), labels, is_whole=True)


def _sketch(vectors: Floats) -> Floats:
    """float32[n, k + 1] whose inner products are at least those of the unit rows float32[n, d].

    The coordinates in a subspace where the rows are long (one step of a randomised range finder; Halko et al. 2011,
    algorithm 4.3), and the length of what is left: by Cauchy and Schwarz no pair's rests have a larger product.
    """
    if vectors.shape[1] <= 2 * _SKETCH or len(vectors) <= _ROWS:
        return vectors
    sample = vectors[:: max(len(vectors) // _SAMPLE, 1)][:_SAMPLE]
    basis, _ = np.linalg.qr(sample.T @ (sample @ sample[:_SKETCH].T))
    coordinates = vectors @ basis.astype(np.float32)
    rest = np.sqrt(np.maximum(1.0 - np.einsum("ij,ij->i", coordinates, coordinates), 0.0))
    sketch: Floats = np.concatenate([coordinates, rest[:, None].astype(np.float32)], axis=1)
    return sketch


def _compare(vectors: Floats, sketches: Floats, top: int, left: int, least: float) -> tuple[Ints, Floats]:
    """Pairs of a block above the diagonal, and their cosines."""
    bounds = sketches[top : top + _ROWS] @ sketches[left : left + _COLUMNS].T
    first, second = np.nonzero(bounds > least - _SLACK)
    above = second + left > first + top
    first, second = first[above], second[above]
    if len(first) > _DENSE * bounds.size:
        block = vectors[top : top + _ROWS] @ vectors[left : left + _COLUMNS].T
        values = block[first, second]
    else:
        values = np.zeros(len(first), np.float32)
        for start in range(0, len(first), _EXACT_ROWS):
            part = slice(start, start + _EXACT_ROWS)
            values[part] = np.einsum("ij,ij->i", vectors[first[part] + top], vectors[second[part] + left])
    good = values > least
    return np.stack([first[good] + top, second[good] + left], axis=1), values[good]


def _forest(rows: Ints, cosines: Floats, labels: Ints, *, is_whole: bool) -> Pairs:
    """Those of the pairs that join what none before them joined (Kruskal 1956)."""
    same = labels[rows[:, 0]] == labels[rows[:, 1]]
    order = np.lexsort((rows[:, 1], rows[:, 0], -cosines, same))
    parents: dict[int, int] = {}

    def root(row: int) -> int:
        while (parent := parents.get(row, row)) != row:
            parents[row] = row = parents.get(parent, parent)
        return row

    kept = []
    for at in order.tolist():
        one, other = root(int(rows[at, 0])), root(int(rows[at, 1]))
        if one != other:
            parents[other] = one
            kept.append(at)
    return Pairs(rows[kept], cosines[kept], is_whole)


def overlaps(head: Head, vectors: Floats, labels: Ints) -> list[Overlap]:
    """Labels of the head that overlap, the most confused first.

    Where examples of both were left out, that is told by how many of them are taken for the other label; where too few
    were taught for that, by the unit rows float32[n, d] of the labels int64[n]: labels whose examples are as like one
    another's as their own have the same mean as far as can be seen (the unbiased squared maximum mean discrepancy of
    the linear kernel, Gretton et al. 2012, lemma 6, is not above 0).
    """
    classes = len(head.labels)
    counts = np.bincount(labels, minlength=classes)
    sums = np.zeros((classes, vectors.shape[1]), np.float64)
    np.add.at(sums, labels, vectors)
    pairs = counts * (counts - 1.0)
    within = (np.einsum("ij,ij->i", sums, sums) - counts) / np.maximum(pairs, 1.0)
    examined = head.left_out if len(head.left_out) else np.zeros(classes, np.int64)
    confused: dict[tuple[int, int], int] = {}
    for label, told, count in head.confusions.tolist():
        pair = (min(label, told), max(label, told))
        confused[pair] = confused.get(pair, 0) + count
    chosen = [
        pair
        for pair, count in confused.items()
        if count >= MIN_CONFUSED and count >= OVERLAP_SHARE * (examined[pair[0]] + examined[pair[1]])
    ]
    chosen += _alike(sums, counts, within, examined)
    found = []
    for label, other in chosen:
        products = counts[label] * counts[other]
        across = float(sums[label] @ sums[other] / products) if products else float("nan")
        left_out = int(examined[label] + examined[other]) if (label, other) in confused else 0
        found.append(
            Overlap(
                (label, other),
                confused.get((label, other), 0),
                left_out,
                across,
                float((within[label] + within[other]) / 2),
            )
        )
    return sorted(
        found,
        key=lambda pair: (-pair.confused / max(pair.left_out, 1), pair.within - pair.across, pair.labels),
    )


def _alike(sums: Doubles, counts: Ints, within: Doubles, examined: Ints) -> Sequence[tuple[int, int]]:
    """Pairs of labels of at least two examples, of which none was left out, that have the same mean."""
    judged = np.flatnonzero((counts >= 2) & (examined == 0))
    found: list[tuple[int, int]] = []
    for start in range(0, len(judged), _ROWS):
        part = judged[start : start + _ROWS]
        across = sums[part] @ sums[judged].T / np.outer(counts[part], counts[judged])
        same = across >= (within[part][:, None] + within[judged][None]) / 2
        rows, columns = np.nonzero(same)
        found += [
            (int(part[row]), int(judged[column]))
            for row, column in zip(rows, columns, strict=True)
            if part[row] < judged[column]
        ]
        if len(found) > MAX_PAIRS:
            break
    return found
