"""What can be trained: kinds of base models, tasks and the figures that judge them."""

from __future__ import annotations

from typing import Literal

BaseKind = Literal["encoder", "vlm"]
Task = Literal["classification", "vqa", "caption"]
Metric = Literal[
    "accuracy", "f1", "macro_f1", "per_class", "confusion_matrix", "calibration_error", "bleu", "exact_match"
]
"""`f1` is `macro_f1` of labels and the F1 of words of texts; `accuracy` of texts is `exact_match`."""

MIN_A_LABEL_TO_HOLD_OUT = 3
"""Images of a label below which all are learned from: one of two would cost half of what there is, to judge by one."""
MIN_ANSWERS_TO_HOLD_OUT = 10
"""Examples of answers or captions, all together, below which all are learned from: of fewer, those held out could tell
nothing."""
