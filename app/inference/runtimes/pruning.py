"""Structured magnitude pruning: hidden channels of little weight are taken out, so that the layers shrink."""

from __future__ import annotations

import math

import torch
from torch import nn

SHARES = (5, 10, 20)
"""Per cent of hidden channels that are tried, until one is too many. Zeros scattered over a matrix (unstructured
pruning) are not tried at all: dense kernels multiply them like anything else."""
_MULTIPLE = 8
"""Widths stay divisible by this, or vectorised kernels get slower than they were."""


def prune(module: nn.Module, percent: int) -> int:
    """Take the least weighty hidden channels out, in place; returns how many went.

    A channel's weight is the product of the norms of what leads into it and what leads out (Li et al. 2017 use the
    first alone), so that scaling one against the other, which changes nothing, changes no rank.
    """
    removed = 0
    for layer in module.modules():
        if isinstance(getattr(layer, "fc1", None), nn.Linear) and isinstance(
            getattr(layer, "fc2", None), nn.Linear
        ):
            removed += _prune_mlp(layer, percent)
        elif getattr(layer, "expands", False) and isinstance(
            getattr(layer, "depthwise_conv", None), nn.Conv2d
        ):
            removed += _prune_residual(layer, percent)
    return removed


def _prune_mlp(layer: nn.Module, percent: int) -> int:
    first, second = layer.fc1, layer.fc2
    if not isinstance(first, nn.Linear) or not isinstance(second, nn.Linear):
        return 0
    kept = _heaviest(first.weight.norm(dim=1) * second.weight.norm(dim=0), percent)
    gone = first.out_features - len(kept)
    first.weight = _cut(first.weight, kept)
    if first.bias is not None:
        first.bias = _cut(first.bias, kept)
    second.weight = _cut(second.weight, kept, dim=1)
    first.out_features = second.in_features = len(kept)
    return gone


def _prune_residual(layer: nn.Module, percent: int) -> int:
    """Widen, filter, project: the channels between the first and the last convolution."""
    widen, between, project = layer.expand_conv, layer.depthwise_conv, layer.project_conv
    before, after = layer.bn0, layer.bn1
    if not (
        isinstance(widen, nn.Conv2d)
        and isinstance(between, nn.Conv2d)
        and isinstance(project, nn.Conv2d)
        and isinstance(before, nn.BatchNorm2d)
        and isinstance(after, nn.BatchNorm2d)
    ):
        return 0
    weight = after.weight.abs() * project.weight.flatten(1).norm(dim=0)
    kept = _heaviest(weight, percent)
    gone = widen.out_channels - len(kept)
    _make_up_for(after, project, layer.bn2, kept)
    widen.weight, between.weight = _cut(widen.weight, kept), _cut(between.weight, kept)
    project.weight = _cut(project.weight, kept, dim=1)
    for norm in (before, after):
        norm.weight, norm.bias = _cut(norm.weight, kept), _cut(norm.bias, kept)
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean, norm.running_var = norm.running_mean[kept], norm.running_var[kept]
        norm.num_features = len(kept)
    widen.out_channels = between.in_channels = between.out_channels = between.groups = len(kept)
    project.in_channels = len(kept)
    return gone


def clipped_mean(norm: nn.BatchNorm2d) -> torch.Tensor:
    """float32[channels]: what a ReLU6 behind this batch norm gives on average, without looking at any image.

    Before it a channel is about normal with mean beta and deviation |gamma| over the images and places the network
    was trained on, so its mean afterwards is E[min(max(z, 0), 6)] in closed form.
    """
    beta = norm.bias.detach().double()
    gamma = norm.weight.detach().double().abs().clamp_min(1e-6)

    def above(level: float) -> torch.Tensor:
        z = (beta - level) / gamma
        density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        excess: torch.Tensor = gamma * (z * torch.special.ndtr(z) + density)
        return excess

    return (above(0.0) - above(6.0)).float()


def _make_up_for(norm: nn.BatchNorm2d, project: nn.Conv2d, behind: object, kept: torch.Tensor) -> None:
    """Let the next batch norm expect what is left: the channels that go were not zero but had a mean."""
    if not isinstance(behind, nn.BatchNorm2d) or behind.running_mean is None:
        return
    lost = clipped_mean(norm)
    lost[kept] = 0.0
    behind.running_mean = behind.running_mean - project.weight.detach().flatten(1) @ lost


def _heaviest(weight: torch.Tensor, percent: int) -> torch.Tensor:
    count = round(len(weight) * (100 - percent) / 100)
    count = min(len(weight), -(-count // _MULTIPLE) * _MULTIPLE)
    return weight.topk(count).indices.sort().values


def _cut(tensor: torch.Tensor, kept: torch.Tensor, dim: int = 0) -> nn.Parameter:
    return nn.Parameter(tensor.detach().index_select(dim, kept).contiguous(), requires_grad=False)
