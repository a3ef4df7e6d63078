"""EfficientNet-Lite as a feature extractor: the layers, and how published weights fit into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

FEATURES = 1280
CLASSES = 1000


class Stage(NamedTuple):
    """A run of inverted-residual blocks; only its first block strides and changes the width."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""EfficientNet-B0's stages (Tan and Le 2019, table 1); Lite drops squeeze-and-excitation, uses ReLU6."""
STAGES_2 = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
"""Lite2's: 1.1 times as wide (rounded to eights), 1.2 times as deep; Lite leaves stem, first and last stage alone."""


class PaddedConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, which these weights were trained with.

    With stride 2 on an even side the odd row and column of padding go below and to the right.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = stride == 1
        super().__init__(
            inputs, outputs, kernel, stride, kernel // 2 if symmetric else 0, groups=groups, bias=False
        )
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.edges = None if symmetric else (before, after, before, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.edges is not None:
            x = nn.functional.pad(x, self.edges)
        return super().forward(x)


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: widen, filter each channel, project back; added to its input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self.bn0 = norm(wide)
        self.depthwise_conv = PaddedConv(wide, wide, kernel, stride, groups=wide)
        self.bn1 = norm(wide)
        self.project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn2 = norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = nn.functional.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        wide = nn.functional.relu6(self.bn1(self.depthwise_conv(wide)))
        y: torch.Tensor = self.bn2(self.project_conv(wide))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """float[n, 3, h, w] (sides divisible by 32) to pooled features float[n, 1280] in 0..6."""

    def __init__(self, stages: Sequence[Stage] = STAGES) -> None:
        super().__init__()
        self.conv_stem = PaddedConv(3, 32, 3, stride=2)
        self.bn0 = norm(32)
        blocks: list[Block] = []
        width = 32
        for stage in stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(width, stage.width, stage.kernel, stride, stage.expansion))
                width = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(width, FEATURES, 1, bias=False)
        self.bn1 = norm(FEATURES)
        self.cut = len(blocks) - stages[-1].blocks
        """How many blocks come before the last stage."""
        self.level_width = stages[-2].width
        """Channels of what they give."""

    def before_last_stage(self, x: torch.Tensor) -> torch.Tensor:
        """Pixels to what the last stage is given: float[n, 192, h / 32, w / 32] of Lite0."""
        x = nn.functional.relu6(self.bn0(self.conv_stem(x)))
        for index in range(self.cut):
            x = self.blocks[index](x)
        return x

    def last_stage(self, x: torch.Tensor) -> torch.Tensor:
        """That to pooled features float[n, 1280]."""
        for index in range(self.cut, len(self.blocks)):
            x = self.blocks[index](x)
        pooled: torch.Tensor = nn.functional.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))
        return pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last_stage(self.before_last_stage(x))


EfficientNetLite0 = EfficientNetLite


class Classifier(NamedTuple):
    """The linear classifier on top of the features: `logits = features @ weight.T + bias`."""

    weight: torch.Tensor
    """float32[1000, 1280]"""
    bias: torch.Tensor
    """float32[1000]"""


def from_state_dict(
    state: Mapping[str, torch.Tensor], module: EfficientNetLite | None = None
) -> tuple[EfficientNetLite, Classifier]:
    """The published weights (`_blocks.0._bn1.bias` and so on) in `module` (Lite0 unless given), which is in eval mode
    then, and its classifier.

    Raises `RuntimeError` (from torch) when a tensor is missing, left over or of another shape.
    """
    renamed = {name.removeprefix("_").replace("._", "."): tensor for name, tensor in state.items()}
    classifier = Classifier(renamed.pop("fc.weight").float(), renamed.pop("fc.bias").float())
    module = module or EfficientNetLite()
    module.load_state_dict(renamed)
    return module.eval().requires_grad_(False), classifier
