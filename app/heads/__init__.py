"""Closed-form classifiers on embeddings, with calibrated scores and a share for none of the labels.

Needs no database, no HTTP and no deep learning library.
"""

from __future__ import annotations

from app.heads.fitting import LabelShares, fit_head, zero_shot_head
from app.heads.head import Head, Prediction
from app.heads.moments import Moments
from app.heads.priors import Priors, priors_of
from app.heads.supports import SupportSet

__all__ = [
    "Head",
    "LabelShares",
    "Moments",
    "Prediction",
    "Priors",
    "SupportSet",
    "fit_head",
    "priors_of",
    "zero_shot_head",
]
