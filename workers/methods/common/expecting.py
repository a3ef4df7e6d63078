"""How often a classifier expects each label: as it is asked for, else as the collection that it learns from does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.heads import LabelShares
from app.heads.fitting import log_shares
from app.methods.params import SharesParams
from workers.shared.examples import Examples


def count_labels(params: SharesParams, examples: Examples, y: NDArray[Any]) -> list[int] | None:
    """What `ClassifierNote.label_counts` says of a closed-form head on examples of labels `y` int64[n]."""
    return _count(examples, y).tolist() if _resolve_shares(params, examples) == "examples" else None


def shift_logits(
    params: SharesParams, examples: Examples, y: NDArray[Any], *, is_balanced: bool
) -> NDArray[np.float32]:
    """float32[C] to add to the logits of a classifier that learned from labels `y` int64[n].

    A loss that counts every example alike teaches the labels' shares among them, one that weighs labels by the inverse
    of their frequency (`is_balanced`) teaches equal ones; the logarithms of the shares lie between the two (logit
    adjustment, Menon et al. 2021). Zeros where nothing else is asked for.
    """
    wanted, learned = _resolve_shares(params, examples), "equal" if is_balanced else "examples"
    shares = log_shares(_count(examples, y))
    factor = 0.0 if wanted in (None, learned) else 1.0 if wanted == "examples" else -1.0
    return (factor * shares).astype(np.float32)


def _resolve_shares(params: SharesParams, examples: Examples) -> LabelShares | None:
    """None: nobody said, neither for the training nor for a collection, whose default is to expect all alike."""
    return params.label_shares or ("examples" if examples.label_shares == "examples" else None)


def _count(examples: Examples, y: NDArray[Any]) -> NDArray[np.int64]:
    return np.bincount(np.asarray(y, np.int64), minlength=len(examples.labels))
