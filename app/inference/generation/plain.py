"""Answers by transformers' own `generate`, for what the loop does not know: windows of attention, penalties, bans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from app.inference.generation.rows import Row
from app.inference.prompts import Answer


def generate_plainly(
    model: Any, rows: Sequence[Row], inputs: Mapping[str, torch.Tensor], prompt_length: int
) -> list[Answer]:
    """Answer prompts that are padded on the left and share one sampling.

    `prompt_length` is how many tokens `generate` begins with.
    """
    sampling = rows[0].generation.sampling
    options: dict[str, Any] = {"do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        options |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    model.generate(
        **inputs,
        max_new_tokens=max(row.generation.max_new_tokens for row in rows),
        num_beams=1,
        streamer=_RowStreamer(rows),
        stopping_criteria=[_RowsEnded(rows, prompt_length)],
        **options,
    )
    return [row.close("cancelled" if row.generation.cancelled() else "length") for row in rows]


class _RowStreamer(BaseStreamer):
    """transformers calls `put` once with the prompts and then once a step with int64[rows]."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Hand each row its next token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for row, token in zip(self._rows, value.tolist(), strict=True):
            row.push(token)

    def end(self) -> None:
        """Nothing is held back: every token was passed on when it came."""


class _RowsEnded(StoppingCriteria):
    """Stops each row at its own limit, or when whoever asked has gone."""

    def __init__(self, rows: Sequence[Row], prompt_length: int) -> None:
        self._rows = rows
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """int64[rows, length] to bool[rows]: which rows are done after this step."""
        steps = input_ids.shape[1] - self._prompt_length
        done = [
            row.answer is not None or row.generation.cancelled() or steps >= row.generation.max_new_tokens
            for row in self._rows
        ]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)
