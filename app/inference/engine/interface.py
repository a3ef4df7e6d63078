"""What the rooms ask of models, wherever these run: in this process (`app.inference.registry.ModelRegistry`), or in
engine processes behind Unix sockets (`app.inference.engine.client.EngineClient`).

Imports neither torch nor what loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from app.inference.model_info import ModelInfo
from app.inference.prompts import Answer, Prompt, Task
from app.inference.protocols import ImageOrMaker, Vectors


class ServedEncoder(Protocol):
    """An encoder while it is lent: its facts, and its work. Belongs to one event loop."""

    name: str
    """Slug it is served as, e.g. `lite`."""
    family: str
    key: str
    """`name@fingerprint`, which names the vector space: vectors of two keys never mix."""
    dim: int
    """Length d of every vector."""
    input_size: int
    """Shorter side in pixels that it looks at."""
    min_decoded_side: int | None
    """Shorter side in pixels down to which images may be decoded at a reduced scale; None: at full size only."""
    temperature: float
    """Scale that turns cosines into logits."""
    fingerprint: str
    reads_texts: bool
    """Whether it puts texts into the space of its images."""
    reads_jpeg: bool
    """Whether JPEG files (`app.media.encoded.EncodedJpeg`) had better come undecoded; it takes them anyway."""

    @property
    def runtime(self) -> str:
        """How it runs, for people."""

    async def embed_images(self, images: Sequence[ImageOrMaker], *, deadline_s: float) -> Vectors:
        """float32[n, d], one unit row an image, in order.

        Makers are called in the decode pool, right before their image is needed. Raises what they raise,
        OverloadedError, DeadlineExceededError and OutOfMemoryError; then, and when the caller is cancelled, the
        images that still wait are dropped.
        """

    async def embed_texts(self, texts: Sequence[str], *, deadline_s: float) -> Vectors:
        """float32[n, d], one unit row a text, in order; raises ModelTaskError where it reads images only."""

    async def embed_questions(self, questions: Sequence[str], *, deadline_s: float) -> Vectors:
        """As `embed_texts`; the same vector for every text where the encoder reads images only."""


class ServedVlm(Protocol):
    """A vision-language model while it is lent."""

    name: str
    family: str
    runtime: str
    tasks: frozenset[Task]
    several_images: bool
    """Whether a prompt may hold the images of its examples."""
    takes_text_alone: bool
    """Whether a prompt may be without an image."""

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """The answer, and the indices of the examples that fitted.

        `on_text` is called in the event loop with each new piece. Cancelling stops the answer at its next token.
        Raises QuestionTooLongError, OverloadedError, DeadlineExceededError, OutOfMemoryError.
        """


class Engine(Protocol):
    """Lends models, and knows which there are.

    What is known is in memory with both transports: asking for it costs no round trip, so that these methods are
    not awaited.
    """

    def encoder(self, name: str | None = None) -> AbstractAsyncContextManager[ServedEncoder]:
        """The encoder of that name (the default without one), loaded if need be and kept while in use.

        Raises ModelNotFoundError, ModelUnavailableError (a later try loads again), OutOfMemoryError, and
        EngineUnavailableError where it runs in a process that is not there.
        """

    def vlm(self, name: str | None = None) -> AbstractAsyncContextManager[ServedVlm]:
        """The vision-language model of that name (the default without one), likewise."""

    def list_models(self) -> list[ModelInfo]:
        """The models that any client may name; each once, under its name."""

    def live(self) -> list[ModelInfo]:
        """Loaded models, the most recently used first, as of the last load or unload; `stats` has fresh figures."""

    def live_at(self, location: str) -> ModelInfo | None:
        """The loaded model whose files lie there; None where it is not in memory."""

    def is_taken(self, name: str) -> bool:
        """Whether clients mean something else by it than a trained model: one that is known, or a family."""

    async def stats(self) -> list[ModelInfo]:
        """As `live`, with what the batchers counted until now."""

    async def forget(self, location: str) -> None:
        """Give back the memory of a model that was removed: at once where it is idle, else when its last user goes."""

    async def close(self) -> None:
        """Fail what waits and give everything back; a load that takes long gives its model back when it ends."""
