"""`lite` with other last stages: a folder with their weights, beside a base that is named, not copied."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.families.lite import encoder as lite
from app.families.lite.efficientnet_lite import EfficientNetLite0
from app.inference.errors import ModelUnavailableError
from app.inference.sources import EncoderConfig, EncoderSource


def with_tail(module: EfficientNetLite0, tail: dict[str, torch.Tensor]) -> EfficientNetLite0:
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

    def __init__(self, source: EncoderSource, config: EncoderConfig) -> None:
        file = Path(source.location) / lite.TAIL
        try:
            self._tail = load_file(file)
            self._digest = hashlib.sha256(file.read_bytes()).hexdigest()
            with_tail(EfficientNetLite0(), self._tail)
        except (OSError, SafetensorError, ValueError):
            raise ModelUnavailableError(f"The file {lite.TAIL} of '{source.name}' cannot be read.") from None
        super().__init__(source, config)

    def _module(self) -> EfficientNetLite0:
        return with_tail(super()._module(), self._tail)

    def _own_fingerprint(self) -> str:
        return hashlib.sha256(f"{lite.fingerprint()} {self._digest}".encode()).hexdigest()[:16]
