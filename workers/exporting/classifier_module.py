"""A trained classifier as one module, pixels to scores: the encoder's image side, then the head, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from app.heads.head import Head, Nearest
from app.models.classifiers import TrainedClassifier


class HeadModule(nn.Module):
    """The closed-form head: unit features float[n, d] to (label logits float[n, C], log-odds of any label float[n])."""

    anchors: torch.Tensor
    text_rows: torch.Tensor
    text_mean: torch.Tensor
    text_deviation: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    coefficients: torch.Tensor
    exemplars: torch.Tensor
    has_exemplars: torch.Tensor
    unseen: torch.Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        classes = len(head.labels)
        self.constant("anchors", head.anchors)
        self.has_texts = head.texts is not None and len(head.evidence.unseen) > 0
        if head.texts is not None:
            for name, value in (
                ("text_rows", head.texts.rows),
                ("text_mean", head.texts.mean),
                ("text_deviation", head.texts.deviation),
            ):
                self.constant(name, value)
        self.width = head.scorer.width
        self.constant("weights", head.scorer.weights)
        self.constant("bias", head.scorer.bias)
        self.constant("coefficients", head.scorer.coefficients)
        self._lay_out_nearest(head.nearest, classes)
        evidence = head.evidence
        self.unrelated = evidence.unrelated
        self.image_line = (evidence.image_offset, evidence.image_slope)
        self.text_line = (evidence.text_offset, evidence.text_slope)
        unseen = np.zeros(classes, bool)
        unseen[evidence.unseen] = True
        self.register_buffer("unseen", torch.from_numpy(unseen))

    def constant(self, name: str, value: Any) -> None:
        """A float32 array of the graph."""
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value, np.float32)))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cosines = features @ self.anchors.T
        logits = features @ self.weights + self.bias
        if len(self.coefficients):
            kernel = torch.exp(self.width * (cosines[:, : len(self.coefficients)] - 1))
            logits = logits + kernel @ self.coefficients
        near = torch.where(self.has_exemplars, cosines[:, self.exemplars].amax(dim=-1), -1.0)
        relative = (near - self.unrelated) / (1 - self.unrelated)
        odds = self.image_line[0] + self.image_line[1] * relative
        if self.has_texts:
            raw = features @ self.text_rows.T - self.text_mean
            by_text = self.text_line[0] + self.text_line[1] * raw / self.text_deviation
            odds = torch.where(self.unseen, by_text, odds)
        return logits, odds.amax(dim=1)

    def _lay_out_nearest(self, nearest: Nearest | None, classes: int) -> None:
        """For each label the columns of its exemplars, filled up by repeating the first."""
        groups: list[np.ndarray[Any, Any]] = [np.zeros(1, np.int64)] * classes
        has = np.zeros(classes, bool)
        if nearest is not None:
            ends = np.append(nearest.starts[1:], len(nearest.exemplars))
            for label, start, end in zip(nearest.columns, nearest.starts, ends, strict=True):
                groups[label], has[label] = nearest.exemplars[start:end], True
        width = max(len(group) for group in groups)
        columns = np.stack(
            [np.pad(group, (0, width - len(group)), constant_values=group[0]) for group in groups]
        )
        self.register_buffer("exemplars", torch.from_numpy(columns))
        self.register_buffer("has_exemplars", torch.from_numpy(has))


class ClassifierModule(nn.Module):
    """pixels float[n, 3, h, w] to (scores float[n, C], none float[n]), which add up to 1."""

    def __init__(self, image_side: nn.Module, classifier: TrainedClassifier) -> None:
        super().__init__()
        self.image_side = image_side
        self.head = HeadModule(classifier.head)
        weights = classifier.weights
        self.unit_norm = classifier.note.unit_norm
        self.layers = nn.ModuleList()
        for weight, bias in weights.layers:
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight, layer.bias = _to_fixed(weight), _to_fixed(bias)
            self.layers.append(layer)
        self.rows: nn.Linear | None = None
        if weights.rows is not None and weights.bias is not None:
            self.rows = nn.Linear(weights.rows.shape[1], weights.rows.shape[0])
            self.rows.weight, self.rows.bias = _to_fixed(weights.rows), _to_fixed(weights.bias)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.judge(self.image_side(pixels))

    def judge(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the image side's unit features float[n, d]."""
        logits, odds = self.head(features)
        if self.rows is not None:
            z = features
            for index, layer in enumerate(self.layers):
                z = layer(z if index == 0 else torch.relu(z))
            if self.unit_norm and len(self.layers):
                z = nn.functional.normalize(z, dim=-1)
            logits = self.rows(z)
        known = torch.sigmoid(odds)
        return torch.softmax(logits, dim=-1) * known.unsqueeze(-1), 1 - known


def _to_fixed(value: Any) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(value, np.float32)), requires_grad=False)
