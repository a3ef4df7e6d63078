"""How much is taken on at a time. Imports no torch, and asks it only where this process runs models."""

from __future__ import annotations

from app.inference import device
from app.settings import Settings

UNMEASURED_BATCH = 32
"""On a GPU, for what runs there without measuring, such as adapters and text towers."""


def decode_threads(settings: Settings) -> int:
    """Threads that decode images in one process: the setting, or the cores that it may run on and has quota for."""
    return device.threads(settings.batching.decode_threads)


def images_in_flight(settings: Settings, batches: int | None = None) -> int:
    """Images that are decoded and embedded at a time: the next batch gathers beside the one that runs.

    `batches` is the number of items in the largest batches of all engines together; without it models run in this
    process, whose queue bounds them.
    """
    batching = settings.batching
    # looked at first: on a GPU machine the largest batch is a question to torch
    asked = batching.images_in_flight
    if batches is not None:
        return asked or max(2 * batches, 4 * decode_threads(settings))
    return min(asked or max(2 * largest_batch(settings), 4 * decode_threads(settings)), batching.max_queue)


def largest_batch(settings: Settings) -> int:
    """How many items one forward pass takes at most, on the device that the settings name.

    On CPU small: `lite` in ONNX Runtime on 2 cores takes 6.4 ms an image in batches of 4, 8.2 of 8 and 13.2
    of 32, whose activations no longer fit the cache. On a GPU an encoder's launcher measures it; this is for those
    without one.
    """
    on_cpu = device.parse(settings.models.device).kind == "cpu"
    return settings.batching.cpu_max_batch if on_cpu else settings.batching.max_batch or UNMEASURED_BATCH
