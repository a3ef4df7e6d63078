"""Figures by which heads are compared."""

from __future__ import annotations

import numpy as np

from app.heads.types import Doubles


def expected_calibration_error(confidence: Doubles, correct: Doubles, bins: int = 15) -> float:
    """Mean |accuracy - confidence| over equally wide bins, weighted by how many fall in (Guo et al. 2017, eq. 3)."""
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(len(confidence), 1))


def auroc(positive: Doubles, negative: Doubles) -> float:
    """The chance that a positive scores above a negative, ties half (Mann and Whitney 1947)."""
    both = np.concatenate([positive, negative])
    order = np.argsort(both, kind="stable")
    ranked = both[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(both)]
    rank = np.empty(len(both))
    rank[order] = np.repeat((starts + ends + 1) / 2.0, ends - starts)
    n, m = len(positive), len(negative)
    return float((rank[:n].sum() - n * (n + 1) / 2.0) / (n * m))
