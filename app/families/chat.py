"""Conversations as the chat templates of transformers take them."""

from __future__ import annotations

from typing import Any, Protocol

_PROBE = "Probe"


class ChatRenderer(Protocol):
    """Turns as the text that a model reads; `answering` ends it where an answer begins."""

    def __call__(self, messages: list[dict[str, Any]], *, answering: bool) -> str: ...


def turn(role: str, text: str) -> dict[str, Any]:
    """A turn of nothing but text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def lead_in(render: ChatRenderer) -> str:
    """What a template puts between where an answer begins and its first letter; a blank where it is not to tell."""
    question = [turn("user", "?")]
    opening = render(question, answering=True)
    answered = render([*question, turn("assistant", _PROBE)], answering=False)
    between, found, _ = answered[len(opening) :].partition(_PROBE)
    return between if found and answered.startswith(opening) and not between.strip() else " "
