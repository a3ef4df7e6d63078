"""Prompts for a vision-language model, and its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

Task = Literal["vqa", "caption"]
CAPTION_PROMPT = "Describe the image in one sentence."
"""What a model that only knows questions is asked for a caption."""
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class AnswerExample:
    """One shown question and its answer; `image` is an RGB picture, or None where a model gets only the text.

    One with a picture and no words is another image of the question itself.
    """

    image: Image.Image | None
    question: str
    answer: str

    @property
    def is_wordless(self) -> bool:
        """Whether it is only a picture."""
        return not self.question and not self.answer


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: temperature 0 is greedy and deterministic, anything above draws from the softmax."""

    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """One question about (or caption of) one image, with examples ordered from most to least relevant.

    Where it `is_text_only` the image stands for none, and only a model that `takes_text_alone` may be asked.
    """

    image: Image.Image
    text: str
    task: Task
    max_new_tokens: int
    examples: tuple[AnswerExample, ...] = ()
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    is_text_only: bool = False


@dataclass(frozen=True)
class Answer:
    """What the model said. Token counts follow the model's own tokenizer; image tokens count as prompt tokens."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass
class Generation:
    """One prompt on its way through a model.

    `packed` is the family's own format; `examples_used` indexes `Prompt.examples`. `on_text` receives each new
    piece of text, `on_done` the answer as soon as this row ends (rows of a batch end on their own), both from the
    model's thread. `cancelled` is asked between tokens.
    """

    packed: Any
    prompt_tokens: int
    max_new_tokens: int
    sampling: Sampling
    examples_used: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    on_text: Callable[[str], None] | None = None
    on_done: Callable[[Answer], None] | None = None
    cancelled: Callable[[], bool] = field(default=lambda: False)
    sent: int = 0
    """Characters passed to `on_text` already: a batch that is tried again does not repeat them."""
