"""`lite` with other last stages: a folder with their weights, beside a base that is named, not copied."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.families.lite import encoder as lite
from app.families.lite import networks
from app.families.lite.variants import Variant, fingerprint
from app.inference.errors import ModelUnavailableError
from app.inference.sources import EncoderConfig, EncoderSource


def with_tail(module: torch.nn.Module, tail: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The module with these weights in place of its own; raises ValueError where a name or shape is wrong."""
    own = module.state_dict()
    for name, tensor in tail.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"no such tensor: {name}")
    module.load_state_dict(tail, strict=False)
    return module


class AdaptedLite(lite.LiteEncoder):
    """`lite` with other last stages. Its image side is small (13 MB) and exported as one graph, so it shares no
    memory with the base; its texts are the base's.
    """

    def __init__(self, source: EncoderSource, config: EncoderConfig, variant: Variant) -> None:
        """`variant` is what it was trained over."""
        file = Path(source.location) / lite.TAIL
        try:
            self._tail = load_file(file)
            self._digest = hashlib.sha256(file.read_bytes()).hexdigest()
            with_tail(networks.build(variant), self._tail)
        except (OSError, SafetensorError, ValueError):
            raise ModelUnavailableError(f"The file {lite.TAIL} of '{source.name}' cannot be read.") from None
        super().__init__(source, config, variant)

    def _module(self) -> torch.nn.Module:
        return with_tail(networks.build(self.variant), self._tail)

    def _own_fingerprint(self) -> str:
        return hashlib.sha256(f"{fingerprint(self.variant)} {self._digest}".encode()).hexdigest()[:16]
