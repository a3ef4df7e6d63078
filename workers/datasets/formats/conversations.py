"""Conversations about an image: in the words of OpenAI, LLaVA and ShareGPT, ms-swift, Qwen-VL and LLaMA-Factory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_USERS = frozenset({"user", "human", "question"})
_ASSISTANTS = frozenset({"assistant", "gpt", "model", "bot", "chatgpt", "answer"})
_SYSTEMS = frozenset({"system", "developer"})
_NAMED_IMAGE = re.compile(r"(?:Picture \d+:\s*)?<img>([^<]*)</img>")
"""Up to the next mark only: a text of many that are never closed is looked through once."""
_PLACEHOLDER = re.compile(
    r"</?image>|<\|image(?:_pad)?\|>|<image_\d+>|<ImageHere>|<\|vision_(?:start|end)\|>"
)
DEFAULT_TAGS: Mapping[str, str] = {}


@dataclass
class Conversation:
    """What is asked and answered, and the images that the turns themselves name."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    """Question and answer; the question is empty where only an image is shown."""
    images: list[Any] = field(default_factory=list)
    has_system: bool = False
    chosen: int = 0
    """Questions of whose several answers one was chosen."""


def read_conversation(messages: Any, tags: Mapping[str, str] = DEFAULT_TAGS) -> Conversation:
    """The turns of a conversation. `tags` are LLaMA-Factory's names of roles and contents where they are not usual."""
    talk = Conversation()
    asked: list[str] = []
    shown = False
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict):
            continue
        who = message.get(tags.get("role_tag", ""), message.get("role") or message.get("from") or "")
        content = message.get(tags.get("content_tag", ""), message.get("content", message.get("value")))
        who, said = str(who).lower(), _join_content(content, talk.images)
        if who in _SYSTEMS or who == tags.get("system_tag"):
            talk.has_system = True
        elif who in _USERS or who == tags.get("user_tag"):
            asked += [said] if said else []
            shown = True
        elif (who in _ASSISTANTS or who == tags.get("assistant_tag")) and shown and said:
            talk.pairs.append(("\n".join(asked), said))
            asked, shown = [], False
    return talk


def read_history(history: Any, images: list[Any]) -> Iterator[tuple[str, str]]:
    """Earlier turns as pairs of a question and an answer, as ms-swift and LLaMA-Factory write them."""
    for turn in history if isinstance(history, list) else []:
        if isinstance(turn, list) and len(turn) == 2:
            question, answer = (_join_content(text, images) for text in turn)
            if answer:
                yield question, answer


def clean(text: Any, images: list[Any]) -> str:
    """A text without the places where an image stands; images that it names are added to `images`."""
    found = str(text or "")
    images += [name.strip() for name in _NAMED_IMAGE.findall(found)]
    return _PLACEHOLDER.sub("", _NAMED_IMAGE.sub("", found)).strip()


def _join_content(content: Any, images: list[Any]) -> str:
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return clean(content, images)
    words = []
    for part in content:
        if isinstance(part, str):
            words.append(clean(part, images))
        elif isinstance(part, dict):
            if isinstance(part.get("text"), str):
                words.append(clean(part["text"], images))
            shown = next(
                (part[key] for key in ("image", "image_url", "source", "url", "path") if part.get(key)), None
            )
            if isinstance(shown, dict):
                shown = shown.get("url") or shown.get("path") or shown.get("data") or shown
            if shown is not None and str(part.get("type", "image")).startswith(("image", "input_image")):
                images.append(shown)
    return " ".join(word for word in words if word)
