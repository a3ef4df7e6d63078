"""How much one process takes on at a time."""

from __future__ import annotations

from app.inference.device import threads
from app.inference.opening import largest_batch
from app.settings import Settings


def decode_threads(settings: Settings) -> int:
    """Threads that decode images in one process: the setting, or the cores that it may run on and has quota for."""
    return threads(settings.batching.decode_threads)


def images_in_flight(settings: Settings) -> int:
    """Images that one process decodes and embeds at a time: the next batch gathers beside the one that runs."""
    batching = settings.batching
    if batching.images_in_flight:  # asked first: on a GPU machine the largest batch is a question to torch
        return min(batching.images_in_flight, batching.max_queue)
    return min(max(2 * largest_batch(settings), 4 * decode_threads(settings)), batching.max_queue)
