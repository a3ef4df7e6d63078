"""What every model family promises, whatever library stands behind it.

Knows nothing of batching, requests or storage; a family is one class that keeps one of these promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.accounting import Base
from app.inference.optimisation import Optimisation
from app.inference.prompts import Answer, Generation, Prompt, Task

Pixels = NDArray[np.float32]
Vectors = NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """Images and texts into one space of unit vectors.

    Methods are called from one thread at a time, except `preprocess`, which must be thread-safe.
    """

    name: str
    """Slug this instance is served as, e.g. `lite` or `clip-vit-base-patch32`."""
    family: str
    """`lite`, `clip` or `siglip`."""
    dim: int
    """Length d of every vector."""
    temperature: float
    """Scale t that turns cosines into logits (CLIP: exp(logit_scale))."""
    fingerprint: str
    """First 16 hex digits of a SHA-256 over weights and preprocessing; vectors of two fingerprints never mix."""
    input_size: int
    """Shorter side in pixels that `preprocess` needs; larger sources may be decoded at a reduced scale."""
    memory_bytes: int
    """Resident size of weights and runtime, for the registry's budget."""
    runtime: str
    """How it runs, for people: e.g. `onnxruntime float32 cpu`, `torch bfloat16 cuda:0`."""

    def preprocess(self, image: Image.Image) -> Pixels:
        """One RGB image to float32[3, h, w], resized, cropped and normalised as the weights expect."""
        ...

    def encode_images(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, h, w] to float32[n, d], each row of unit norm."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d], each row of unit norm, in the space of the images."""
        ...


@runtime_checkable
class Optimised(Protocol):
    """An encoder that knows at which level of optimisation it runs."""

    optimisation: Optimisation


class Vlm(Protocol):
    """A loaded vision-language model; called from one thread at a time, except `pack`, which must be thread-safe."""

    name: str
    runtime: str
    memory_bytes: int
    optimisation: Optimisation
    tasks: frozenset[Task]

    @property
    def family(self) -> str: ...

    @property
    def several_images(self) -> bool: ...

    @property
    def base(self) -> Base | None:
        """What it shares with the base model and with other adapters."""

    @property
    def device(self) -> Any:
        """Its torch device."""

    def pack(self, prompt: Prompt) -> Generation:
        """A prompt as the model reads it; raises QuestionTooLongError."""

    def group(self, generation: Generation) -> str:
        """What may share a batch has the same group."""

    def generate(self, batch: Sequence[Generation]) -> list[Answer]:
        """One answer each."""

    def close(self) -> None:
        """Drop the weights."""


class RemoteModel(Protocol):
    """A vision-language model behind a server of somebody else; it takes no memory here."""

    name: str
    runtime: str
    memory_bytes: int
    tasks: frozenset[Task]

    @property
    def family(self) -> str: ...

    @property
    def several_images(self) -> bool: ...

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """The answer and the indices of the examples that went along."""

    async def close(self) -> None:
        """Close its connections."""
