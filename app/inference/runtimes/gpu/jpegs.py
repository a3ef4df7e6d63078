"""JPEG files decoded on a CUDA device, in batches, where a library for it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import torch

log = logging.getLogger(__name__)


class BatchJpegDecoder(Protocol):
    """Decodes batches of JPEG files on a device."""

    name: str
    """The library, for people."""
    turns_upright: bool
    """Whether it applies the orientation that EXIF states."""

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        """Each file as uint8[3, h, w] in RGB on the device, finished or queued on the current stream.

        Raises RuntimeError where one of them cannot be decoded; which one it was is not said.
        """


class TorchcodecDecoder:
    """By torchcodec (0.16 or later, built for CUDA)."""

    name = "torchcodec"
    turns_upright = True

    def __init__(self, device: torch.device) -> None:
        """Raises ImportError, OSError, RuntimeError or AttributeError where torchcodec cannot do it here."""
        self._decode: Any = importlib.import_module("torchcodec.decoders").decode_jpeg
        self._device = device

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        return list(self._decode(list(files), mode="RGB", device=self._device))


class TorchvisionDecoder:
    """By torchvision (0.20 or later, built for CUDA)."""

    name = "torchvision"
    turns_upright = False

    def __init__(self, device: torch.device) -> None:
        """Raises ImportError, OSError, RuntimeError or AttributeError where torchvision cannot do it here."""
        self._module: Any = importlib.import_module("torchvision.io")
        self._decode: Any = self._module.decode_jpeg
        self._device = device

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        # a bytearray, since torch warns of memory that it could not write to
        encoded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
        return list(self._decode(encoded, mode=self._module.ImageReadMode.RGB, device=self._device))


def find_decoder(device: torch.device, probe: bytes) -> BatchJpegDecoder | None:
    """The first library that decodes the file `probe` on this device; None where none does, with a line in the log."""
    if device.type != "cuda":
        return None
    for package, kind in (("torchcodec", TorchcodecDecoder), ("torchvision", TorchvisionDecoder)):
        if importlib.util.find_spec(package) is None:
            continue
        try:
            decoder = kind(device)
            decoder.decode([probe])
        except Exception as error:  # built without CUDA, for another torch, or without a driver: many classes
            log.info("%s is installed but decodes no JPEG on %s: %s", package, device, error)
            continue
        return decoder
    return None


def decode_each(decoder: BatchJpegDecoder, files: Sequence[bytes]) -> list[torch.Tensor | None]:
    """All files in one call; where that fails, one by one, with None for each that is refused.

    Raises `torch.OutOfMemoryError`, which is no file's fault.
    """
    if not files:
        return []
    try:
        return list(decoder.decode(files))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if len(files) == 1:
            return [None]
    return [decode_each(decoder, [file])[0] for file in files]


def upright(planes: torch.Tensor, turn: int) -> torch.Tensor:
    """uint8[3, h, w] as EXIF's orientation (1 to 8) says that it is looked at; a view."""
    if turn in (5, 6, 7, 8):
        planes = planes.transpose(1, 2)
    mirrored = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(turn)
    return planes if mirrored is None else planes.flip(mirrored)
