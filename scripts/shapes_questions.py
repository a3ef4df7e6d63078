"""Questions about one shape on a plain ground, in the words of easy-VQA and in a user's own.

From a colour and a shape (what the training answers tell of an image) come fresh questions with their
answers, so that wordings outside easy-VQA work too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from easy_vqa_data import COLORS, SHAPES

COLOR_QUESTIONS = (
    "what color is this?", "what color is it?", "what color is the shape?", "what color is the {shape}?",
    "what color is the object?", "what color is the thing?", "what color is that?", "what is the color?",
    "what is the color of this?", "what is its color?", "what's the color of the {shape}?",
    "what is the color of the shape in the image?", "which color is it?", "which color is the shape?",
    "which color does the {shape} have?", "tell me the color.", "tell me the color of the shape.",
    "name the color.", "what color do you see?", "what color is in the image?", "color?",
    "what color is the shape in the image?", "what color is shown?",
)  # fmt: skip
SHAPE_QUESTIONS = (
    "what is this?", "what is it?", "what is that?", "what shape is this?", "what shape is it?",
    "what is in the image?", "what is in this image?", "what's in the image?", "what can you see?",
    "what do you see?", "what is shown?", "what is shown in the image?", "which shape is it?",
    "which shape is this?", "which shape is in the image?", "what shape do you see?", "name the shape.",
    "tell me the shape.", "what object is this?", "what is the object?", "what is the {color} object?",
    "what shape is the {color} object?", "what is the shape?", "what kind of shape is this?", "shape?",
    "what is the {color} thing?", "what is present?", "what does the image contain?",
)  # fmt: skip
CAPTION_QUESTIONS = (
    "describe the image.", "describe this image.", "describe the image in one sentence.",
    "describe what you see.", "caption the image.", "write a caption.", "a short caption:",
    "write a short caption for the image.", "what does the image show?", "please describe the image.",
    "give a short description of the image.", "what is in the image? describe it.",
)  # fmt: skip
CLAIMS = (
    "is it {claim}?", "is this {claim}?", "is the object {claim}?", "is that {claim}?",
    "is the shape {claim}?", "would you say it is {claim}?",
)  # fmt: skip
DENIALS = (
    "is it not {claim}?",
    "is this not {claim}?",
    "is the shape not {claim}?",
    "is the object not {claim}?",
)
SIGHTS = (
    "is there a {thing}?", "is there a {thing} in the image?", "do you see a {thing}?",
    "can you see a {thing}?",
    "is a {thing} present?", "does the image contain a {thing}?", "does the image show a {thing}?",
    "is there any {thing}?", "is a {thing} in the image?", "does this image have a {thing}?",
)  # fmt: skip
ABSENCES = (
    "is there no {thing}?", "is there not a {thing}?", "is there no {thing} in the image?",
    "is no {thing} present?", "does the image not contain a {thing}?", "does the image not show a {thing}?",
    "is there not a {thing} in the image?",
)  # fmt: skip


def caption(color: str, shape: str) -> str:
    """How the caption checkpoints put it."""
    return f"a {color} {shape}"


def ask(color: str, shape: str, rng: random.Random) -> tuple[str, str]:
    """A fresh question about a `color` `shape`, and its answer."""
    kind = rng.choices(("color", "shape", "yes/no", "caption"), weights=(3, 3, 3, 1))[0]
    if kind == "color":
        return rng.choice(COLOR_QUESTIONS).format(shape=shape), color
    if kind == "shape":
        return rng.choice(SHAPE_QUESTIONS).format(color=color), shape
    if kind == "caption":
        return rng.choice(CAPTION_QUESTIONS), caption(color, shape)
    return _ask_whether(color, shape, rng)


def _ask_whether(color: str, shape: str, rng: random.Random) -> tuple[str, str]:
    true = rng.random() < 0.5
    about = rng.choice(("color", "shape", "both"))
    said_color, said_shape = color, shape
    if not true and about in ("color", "both"):
        said_color = rng.choice([c for c in COLORS if c != color])
    if not true and (about == "shape" or (about == "both" and rng.random() < 0.7)):
        said_shape = rng.choice([s for s in SHAPES if s != shape])
        if about == "both" and rng.random() < 0.5:
            said_color = color
    thing = {"color": f"{said_color} shape", "shape": said_shape, "both": f"{said_color} {said_shape}"}[about]
    claim = said_color if about == "color" and rng.random() < 0.7 else f"a {thing}"
    denied = rng.random() < 0.35
    if rng.random() < 0.5:
        question = rng.choice(DENIALS if denied else CLAIMS).format(claim=claim)
    else:
        question = rng.choice(ABSENCES if denied else SIGHTS).format(thing=thing)
    return question, "yes" if true != denied else "no"


def reword(question: str, rng: random.Random) -> str:
    """The same question as another hand might type it."""
    if rng.random() < 0.15:
        question = question.replace("image", rng.choice(("picture", "photo")))
    if rng.random() < 0.1:
        question = question.replace("color", "colour")
    if rng.random() < 0.05:
        question = question.replace("gray", "grey")
    if rng.random() < 0.1:
        question = question.rstrip("?.")
    if rng.random() < 0.03:
        question += rng.choice((" answer in one word.", " answer with one word.", " short answer."))
    return question


def every_wording() -> Sequence[str]:
    """All templates filled in, for the tokenizer's vocabulary."""
    rng = random.Random(0)
    filled = sorted({ask(c, s, rng) for c in COLORS for s in SHAPES for _ in range(400)})
    return sorted({reword(q, rng) for q, _ in filled} | {a for _, a in filled} | {q for q, _ in filled})
