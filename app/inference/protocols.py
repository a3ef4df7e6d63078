"""What a loaded model promises, whatever family it is of and whatever library stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.optimisation import Optimisation
from app.inference.prompts import Answer, Generation, Prompt, Task
from app.media.encoded import EncodedJpeg

if TYPE_CHECKING:
    from app.inference.accounting import Base

Pixels = NDArray[Any]
"""What a model's weights see of an image, [3, h, w] or [n, 3, h, w]: uint8 where the model normalises by itself, else
float32, normalised."""
Rgb = NDArray[np.uint8]
"""uint8[h, w, 3]."""
Place = Callable[[int, int], Rgb]
"""Gives memory for an image of so many rows and columns: uint8[h, w, 3], whose content is not defined yet."""
Vectors = NDArray[np.float32]


@runtime_checkable
class PlacedMaker(Protocol):
    """A maker of an image that can write it where it is needed, which saves a copy."""

    def __call__(self) -> Image.Image | Rgb | EncodedJpeg:
        """The image in memory of its own."""

    def make_into(self, place: Place) -> Rgb | EncodedJpeg:
        """The image as what `place(height, width)` gave, filled, or in memory of its own; `place` is called once at
        most. Raises what calling it raises.
        """


ImageOrMaker = Image.Image | Rgb | EncodedJpeg | Callable[[], Image.Image | Rgb | EncodedJpeg] | PlacedMaker
"""An image, or what makes one when it is called in the decode pool (such as decoding an upload)."""


@runtime_checkable
class Encoder(Protocol):
    """Images into a space of unit vectors.

    Methods are called from one thread at a time, except `preprocess`, which must be thread-safe.
    """

    name: str
    """Slug this instance is served as, e.g. `lite` or `clip-vit-base-patch32`."""
    family: str
    """Name of its model family."""
    dim: int
    """Length d of every vector."""
    temperature: float
    """Scale t that turns cosines into logits (CLIP: exp(logit_scale))."""
    fingerprint: str
    """First 16 hex digits of a SHA-256 over weights and preprocessing; vectors of two fingerprints never mix."""
    input_size: int
    """Shorter side in pixels that `preprocess` needs."""
    memory_bytes: int
    """Resident size of weights and runtime, for the registry's budget."""

    @property
    def runtime(self) -> str:
        """How it runs, for people: e.g. `onnxruntime float32 cpu`, `torch bfloat16 cuda:0`."""

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        """One image, uint8[h, w, 3] or Pillow's of mode RGB, resized and cropped as the weights expect.

        uint8[3, h, w] where `encode_images` normalises these; else float32[3, h, w], normalised.
        """

    def encode_images(self, pixels: Pixels) -> Vectors:
        """A batch [n, 3, h, w] of what `preprocess` gives to float32[n, d], each row of unit norm."""


@runtime_checkable
class TextEncoder(Encoder, Protocol):
    """An encoder that puts texts into the same space."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d], each row of unit norm, in the space of the images."""


@runtime_checkable
class Reducing(Protocol):
    """An encoder that knows how far images may be decoded smaller than they are."""

    min_decoded_side: int | None
    """Shorter side in pixels down to which a JPEG may be decoded at a half or a quarter; None: at full size
    only, as for encoders that say nothing of it."""


def min_decoded_side(encoder: Encoder) -> int | None:
    """See `Reducing`."""
    return encoder.min_decoded_side if isinstance(encoder, Reducing) else None


@runtime_checkable
class HasOptimisation(Protocol):
    """An encoder that knows at which level of optimisation it runs."""

    optimisation: Optimisation


class ImageLauncher(Protocol):
    """The image side of an encoder on a GPU: it takes images at full size, and the next batch before the last is done.

    All methods may be called from any thread.
    """

    reads_jpeg: bool
    """Whether it takes JPEG files too."""
    largest_batch: int
    """Before `warm` says another."""

    def launch(self, images: Sequence[Rgb | EncodedJpeg]) -> Callable[[], Vectors]:
        """Queue a batch and return what waits for its rows float32[n, d] of unit norm.

        The images have been read when this returns. Both raise what `Encoder.encode_images` raises, and this
        InvalidImageError for a file that cannot be decoded.
        """

    def warm(self, on_largest: Callable[[int], None]) -> None:
        """Begin to make it faster in the background; `on_largest` hears how large batches had best be."""

    def settle(self, seconds: float) -> None:
        """Block until what `warm` began has ended, for so long at most."""

    def close(self) -> None:
        """End what goes on in the background and give the device's memory back. Blocks."""


@runtime_checkable
class Launching(Protocol):
    """An encoder that may have a launcher."""

    launcher: ImageLauncher | None


class Vlm(Protocol):
    """A vision-language model. `pack` may run in any thread; `generate` runs in the model's own."""

    name: str
    tasks: frozenset[Task]
    several_images: bool
    """Whether a prompt may hold the images of its examples."""
    runtime: str
    optimisation: Optimisation
    device: Any
    """The torch device that it answers on."""

    @property
    def memory_bytes(self) -> int:
        """What it takes now, of what it shares as well."""

    @property
    def family(self) -> str:
        """Name of its model family."""

    @property
    def bases(self) -> tuple[Base, ...]:
        """What it shares with other models."""

    def pack(self, prompt: Prompt) -> Generation:
        """A prompt ready to be answered; raises QuestionTooLongError."""

    def group(self, generation: Generation) -> str:
        """Generations of one group may share a batch."""

    def generate(
        self,
        batch: Sequence[Generation],
        join: Callable[[Callable[[Generation], bool]], Sequence[Generation]] | None = None,
    ) -> list[Answer]:
        """Answer a batch; each row ends, and is handed over, on its own.

        `join` takes more that waits, up to the first that the test it is given refuses; answers to what joined follow
        those of the batch. It is given only to models that say `takes_more`.
        """

    def close(self) -> None:
        """Drop the weights."""


class RemoteModel(Protocol):
    """A vision-language model on another server, which does the batching."""

    name: str
    family: str
    tasks: frozenset[Task]
    several_images: bool
    takes_text_alone: bool
    runtime: str

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """The answer, and the indices of the examples that went along."""

    async def close(self) -> None:
        """Close the connections."""


def same_for_all(count: int, dim: int) -> Vectors:
    """float32[count, dim]: one unit vector for every text, where an encoder reads none.

    Texts then tell nothing apart, and what is found by image and text together is found by the image alone.
    """
    return np.full((count, dim), 1.0 / np.sqrt(dim), np.float32)
