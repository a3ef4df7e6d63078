"""Ends a text before the first of some words, also where one comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Text on its way to a client, which ends before the first stop word; what may become one is held back."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.stopped = False
        """Whether a stop word came."""

    def feed(self, text: str) -> str:
        """What can go out now that `text` came."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [place for word in self._words if (place := text.find(word)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, word) for word in self._words), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """How many letters at the end of `text` begin `word`."""
    return next(
        (size for size in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:size])), 0
    )
