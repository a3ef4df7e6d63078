"""Which number format a forward pass of training computes in, and how it is entered."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from app.inference import device as devices


def training_dtype(device: torch.device) -> torch.dtype:
    """What a forward pass computes in where no format was asked for: see `Device.training_dtype_name`."""
    found: torch.dtype = getattr(torch, devices.Device(device.type, device.index or 0).training_dtype_name)
    return found


def forward_pass(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Around every forward pass outside the Trainer's own: what is trained stays float32 and meets a frozen base, and
    inputs, of another format there.
    """
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
