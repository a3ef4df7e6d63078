"""What can be trained: tasks, methods and the figures that judge them."""

from __future__ import annotations

from typing import Literal

Task = Literal["classification", "vqa", "caption"]
Method = Literal["head", "lora", "prototypical", "maml", "siamese", "finetune"]
Metric = Literal[
    "accuracy", "f1", "macro_f1", "per_class", "confusion_matrix", "calibration_error", "bleu", "exact_match"
]
"""`f1` is `macro_f1` of labels and the F1 of words of texts; `accuracy` of texts is `exact_match`."""
