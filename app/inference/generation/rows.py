"""Follows every row of a batch on its own: its new text, its end, its cancellation."""

from __future__ import annotations

from typing import Any

from app.inference.generation.stopping import count_held, find_stop
from app.inference.prompts import Answer, FinishReason, Generation

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes an unfinished multi-byte character to."""


class Row:
    """One answer under way.

    Text is decoded only where somebody hears it piece by piece or a word may end it, and then only its last few
    tokens at each step; the whole is decoded once, at the end.
    """

    def __init__(self, generation: Generation, tokenizer: Any, end_tokens: frozenset[int]) -> None:
        self.generation = generation
        self.answer: Answer | None = None
        self.position = 0
        """Where the next token that the model reads is kept: the prompt's length and what was read since."""
        self.extra = 0
        """Columns of what else is kept of its prompt."""
        self.chosen = 0
        """Tokens chosen on the device, of which the last may not have arrived here yet."""
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._tokens: list[int] = []
        self._begun = 0
        self._read = 0
        self._streamed = ""

    @property
    def is_choosing(self) -> bool:
        """Whether another token is wanted."""
        return self.answer is None and self.chosen < self.generation.max_new_tokens

    def push(self, token: int) -> None:
        """Take one more token; sends the text it completed and closes the row when it was the last."""
        if self.answer is not None:
            return
        if token in self._end_tokens:
            self.close("stop")
            return
        self._tokens.append(token)
        is_stopped = False
        if self.generation.on_text is not None or self.generation.stop:
            is_stopped = self._stream()
        if is_stopped:
            self.close("stop")
        elif self.generation.cancelled():
            self.close("cancelled")
        elif len(self._tokens) >= self.generation.max_new_tokens:
            self.close("length")

    def close(self, reason: FinishReason) -> Answer:
        """End the row (once) and hand its answer over."""
        if self.answer is None:
            text = self._decode(self._tokens).lstrip()
            stop = find_stop(text, self.generation.stop)
            if stop is not None:
                text = text[:stop]
                reason = "stop"
            self._send(text)
            self.answer = Answer(
                text=text.strip(),
                prompt_tokens=self.generation.prompt_tokens,
                completion_tokens=len(self._tokens),
                finish_reason=reason,
            )
            if self.generation.on_done is not None:
                self.generation.on_done(self.answer)
        return self.answer

    def _stream(self) -> bool:
        """Decode from the last whole piece on: a token alone would lose the blank before it; True where a stop word
        came, before which the text ends.
        """
        before = self._decode(self._tokens[self._begun : self._read])
        text = self._decode(self._tokens[self._begun :])
        if text.endswith(_UNFINISHED) or len(text) <= len(before):
            return False
        self._streamed = (self._streamed + text[len(before) :]).lstrip()
        self._begun, self._read = self._read, len(self._tokens)
        stop = self.generation.stop
        if find_stop(self._streamed, stop) is not None:
            return True
        self._send(self._streamed[: len(self._streamed) - count_held(self._streamed, stop)])
        return False

    def _send(self, text: str) -> None:
        if len(text) > self.generation.sent:
            piece, self.generation.sent = text[self.generation.sent :], len(text)
            if self.generation.on_text is not None:
                self.generation.on_text(piece)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
