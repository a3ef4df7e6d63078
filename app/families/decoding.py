"""Follows every row of a generated batch on its own: its new text, its end, its cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from app.inference.prompts import Answer, FinishReason, Generation

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes an unfinished multi-byte character to."""


class Row:
    """The tokens of one answer so far."""

    def __init__(self, generation: Generation, tokenizer: Any) -> None:
        self.generation = generation
        self.answer: Answer | None = None
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._text = ""

    def push(self, token: int, end_tokens: frozenset[int]) -> None:
        """Take one more token; sends the text it completed and closes the row when it was the last."""
        if self.answer is not None:
            return
        if token in end_tokens:
            self.close("stop")
            return
        self._tokens.append(token)
        self._send()
        if self.generation.cancelled():
            self.close("cancelled")
        elif len(self._tokens) >= self.generation.max_new_tokens:
            self.close("length")

    def close(self, reason: FinishReason) -> Answer:
        """End the row (once) and hand its answer over."""
        if self.answer is None:
            self._send(last=True)
            self.answer = Answer(
                text=self._text.strip(),
                prompt_tokens=self.generation.prompt_tokens,
                completion_tokens=len(self._tokens),
                finish_reason=reason,
            )
            if self.generation.on_done is not None:
                self.generation.on_done(self.answer)
        return self.answer

    def _send(self, *, last: bool = False) -> None:
        text = self._tokenizer.decode(self._tokens, skip_special_tokens=True).lstrip()
        if text.endswith(_UNFINISHED) and not last:
            return
        self._text = text
        if len(text) > self.generation.sent:
            piece, self.generation.sent = text[self.generation.sent :], len(text)
            if self.generation.on_text is not None:
                self.generation.on_text(piece)


class RowStreamer(BaseStreamer):
    """transformers calls `put` once with the prompts and then once a step with int64[rows]."""

    def __init__(self, rows: Sequence[Row], end_tokens: frozenset[int]) -> None:
        self._rows = rows
        self._end_tokens = end_tokens
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Hand each row its next token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for row, token in zip(self._rows, value.tolist(), strict=True):
            row.push(token, self._end_tokens)

    def end(self) -> None:
        """Nothing is held back: every token was passed on when it came."""


class RowsEnded(StoppingCriteria):
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
