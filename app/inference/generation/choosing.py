"""Chooses tokens on the device, each row by its own way of sampling, and brings them to the host one copy a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.inference.prompts import Sampling


def choose(logits: torch.Tensor, samplings: Sequence[Sampling], top_k: int) -> torch.Tensor:
    """float[n, words] to int64[n]: the likeliest word, or one drawn where the row's temperature is above 0.

    In transformers' order: temperature, the `top_k` likeliest (0: all), then the fewest likeliest whose shares add up
    to `top_p` (Holtzman et al. 2020). Nothing here waits for the device.
    """
    greedy = logits.argmax(dim=-1)
    if all(sampling.temperature <= 0 for sampling in samplings):
        return greedy
    temperatures = [sampling.temperature for sampling in samplings]
    temperature = torch.tensor(temperatures, dtype=torch.float32).to(logits.device, non_blocking=True)
    top_p = torch.tensor([sampling.top_p for sampling in samplings], dtype=torch.float32).to(
        logits.device, non_blocking=True
    )
    scores, words = (logits.float() / temperature.clamp_min(1e-6)[:, None]).sort(dim=-1, descending=True)
    if 0 < top_k < scores.shape[-1]:
        scores[:, top_k:] = -torch.inf
    shares = scores.softmax(dim=-1)
    likelier = shares.cumsum(dim=-1) - shares
    likelier[:, 0] = 0
    shares = shares.masked_fill(likelier >= top_p[:, None], 0)
    # the largest of shares over exponential noise is a draw by the shares; torch.multinomial waits for the device
    drawn = (shares / torch.empty_like(shares).exponential_().clamp_min(1e-20)).argmax(dim=-1, keepdim=True)
    return torch.where(temperature > 0, words.gather(-1, drawn)[:, 0], greedy)


class Arrival:
    """Tokens on their way to the host."""

    def __init__(self, chosen: torch.Tensor) -> None:
        """int64[n]; on a GPU the copy runs beside whatever the device does next."""
        self._event: torch.cuda.Event | None = None
        if chosen.device.type == "cuda":
            self._here = torch.empty(chosen.shape, dtype=chosen.dtype, pin_memory=True)
            self._here.copy_(chosen, non_blocking=True)
            self._event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._here = chosen

    def wait(self) -> list[int]:
        """The tokens, once they are here."""
        if self._event is not None:
            self._event.synchronize()
        return list(map(int, self._here.tolist()))
