"""What a model family says of itself: everything that serving, training and exporting may ask of it.

A family is one object in one folder. Nothing here, and nothing in a family's own module, imports torch or
transformers: only the methods that load or build something do, and the modules beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from numpy.typing import NDArray
from PIL import Image

from app.inference.errors import ModelNotFoundError, ModelTaskError, ModelUnavailableError
from app.inference.protocols import Encoder, Pixels, RemoteModel, Vectors, Vlm
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from app.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import nn

Tokens = dict[str, NDArray[Any]]


@dataclass
class ImageTower:
    """An encoder's image side as a torch module whose weights may change."""

    name: str
    family: str
    module: nn.Module
    """float[n, 3, side, side] to features float[n, dim], before they are centred and of unit norm."""
    preprocess: Callable[[Image.Image], Pixels]
    """One RGB image to float32[3, side, side]."""
    centre: torch.Tensor
    """float32[dim]: subtracted before features are scaled to unit norm, as the served encoder does."""
    dim: int
    side: int
    temperature: float
    fingerprint: str
    folder: Path | None
    """Where the base's files lie; None for a built-in model."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What `preprocess` does, as `app.families.hugging_face_training.preprocessing` tells it to the `predict.py` of an
    export, which is left out of one that tells something else."""
    adapted: Literal["tail", "full"] = "full"
    """What is kept of it when all of it was trained: the weights alone, or a whole encoder that needs no base."""


@dataclass
class TextSide:
    """A module and the tokenizer that feeds it."""

    module: nn.Module
    """input_ids int64[n, t], attention_mask int64[n, t] to unit vectors float[n, d]."""
    tokenize: Callable[[Sequence[str]], Tokens]
    tokenizer: Any


@dataclass
class AdaptableEncoder:
    """A whole encoder in float32 on the CPU, for low-rank adapters to be laid into its linear layers."""

    module: Any
    fingerprint: str
    dim: int
    temperature: float
    preprocess: Callable[[Image.Image], Pixels]
    image_features: Callable[[torch.Tensor], torch.Tensor]
    """float[n, 3, h, w] to float[n, dim], of any length."""
    text_features: Callable[[dict[str, torch.Tensor]], torch.Tensor] | None
    """Tokens to float[n, dim], of any length; None where the encoder reads images only."""
    tokenize: Callable[[list[str]], dict[str, torch.Tensor]] | None
    image_part: str = ""
    """Part of the names of the image tower's layers, by which they are told from the text tower's."""


@dataclass
class CutTower:
    """An image tower cut in two: what is trained, and what comes before and is computed once an image."""

    shape: tuple[int, ...]
    """Of the activations of one image."""
    dim: int
    temperature: float
    fingerprint: str
    preprocess: Callable[[Image.Image], Pixels]
    activations: Callable[[Sequence[Pixels]], Any]
    """n images to float16[n, *shape]."""
    build_tail: Callable[[], nn.Module]
    """A new module with the pretrained weights: activations float[n, *shape] to unit features float[n, dim]."""
    write_tail: Callable[[nn.Module, Path], str]
    """Put the tail's weights into a folder, as `load_adapted` reads them; the file's name."""


class Family:
    """A model family. A subclass states what it is and overrides what it can do; the rest is refused in words."""

    name: str
    """Stands in answers, strategies and files, so it never changes."""
    kind: Kind = "encoder"
    model_types: tuple[str, ...] = ()
    """`model_type` of the Hugging Face configurations that it recognises as its own."""
    architectures: tuple[str, ...] = ()
    """Classes of transformers that its whole models are of; whole uploads of these are accepted."""
    hub_hints: tuple[str, ...] = ()
    """Parts of a hub id, in lower case, that suggest this family before the configuration is read. The longest hint
    wins, so an empty one is the guess where no other fits."""
    built_in: str | None = None
    """Name of the model that comes with the family and needs no files of its own."""
    variants: tuple[str, ...] = ()
    """Names of others that need none, such as what the built-in model was in an earlier version: they are not listed,
    but served where something names them, or was trained over one of them under the built-in model's name."""
    default_checkpoints: ClassVar[Mapping[str, str]] = {}
    """Task -> this project's checkpoint that does it where the settings name no other."""
    single_tasks: ClassVar[Mapping[str, str]] = {}
    """Architecture -> the one task of `vqa` and `caption` that it does; those that do both are not here."""
    reads_texts: bool = True
    """Whether an encoder of it puts texts into the space of its images."""
    connects: bool = False
    """Whether its model runs on a server that the settings name."""
    attention_layers: tuple[str, ...] = ()
    """Last names of the linear layers that LoRA changes where examples are few; none: it takes no adapters."""
    linear_layers: tuple[str, ...] = ()
    """The same where examples are many."""
    is_cut: bool = False
    """Whether its last stages are trained by themselves (`cut`), on activations computed once an image."""
    gains_from_gpu: bool = True
    """Whether training it takes long enough for a GPU to matter."""
    learns_in_context: bool = False
    """Whether it was trained to answer by the examples in its prompt, so that nothing need be trained."""
    image_side: int | None = None
    """Pixels a side of what the built-in model sees."""
    vision_words: frozenset[str] = frozenset()
    """What the built-in model's image tower is called, in lower case."""
    tokenizer_words: frozenset[str] = frozenset()
    """The same of its tokenizer."""

    def accepted_architecture(self, config: Mapping[str, Any]) -> str | None:
        """The class of transformers that a whole model of this configuration is built with, if it is its own."""
        is_own = config.get("model_type") in self.model_types
        return next(iter(self.architectures), None) if is_own else None

    def load(self, source: EncoderSource, config: EncoderConfig) -> Encoder | Vlm:
        """A model ready to serve; blocks for seconds.

        `source` is local. Raises ModelUnavailableError for files that do not load.
        """
        raise ModelUnavailableError(f"Models of the family '{self.name}' cannot be loaded.")

    def load_adapted(
        self, source: EncoderSource, note: Mapping[str, Any], config: EncoderConfig
    ) -> Encoder | Vlm:
        """The encoder in a trained model's folder, whose `vision.json` is `note`; blocks.

        Raises BaseModelChangedError where the base at hand is not the one it was trained over, ModelNotFoundError
        where there is none, ModelUnavailableError for files that cannot be read or do not fit.
        """
        raise ModelUnavailableError(f"'{source.name}' changes its encoder in a way that is not served.")

    def fingerprint(self) -> str:
        """16 hex digits over everything that decides what the built-in model computes."""
        raise ModelNotFoundError(f"The family '{self.name}' has no built-in model.")

    def fingerprint_of(self, name: str, config: EncoderConfig) -> str:
        """The same of what the built-in model's name, or a variant's, means with these settings."""
        return self.fingerprint()

    def image_tower(self, source: EncoderSource, config: EncoderConfig) -> ImageTower:
        """The image side in float32 on the CPU, its weights free to change; `source` is local. Raises ModelTaskError
        without one, ModelUnavailableError for files that do not load.
        """
        raise ModelTaskError(f"Models of the family '{self.name}' cannot be trained on pixels or exported.")

    def text_side(self, tower: ImageTower) -> TextSide:
        """The text side that belongs to an image tower, in float32 on the CPU; raises ModelTaskError without one."""
        raise ModelTaskError(f"The texts of '{tower.name}' cannot be exported.")

    def adaptable(self, source: EncoderSource, config: EncoderConfig) -> AdaptableEncoder:
        """The whole encoder for LoRA; `source` is local. Raises ModelTaskError where it takes no adapters."""
        raise ModelTaskError(f"Encoders of the family '{self.name}' take no adapters.")

    def cut(self, device: torch.device) -> CutTower:
        """The built-in model's tower cut before its last stages; raises ModelTaskError where it has no such cut."""
        raise ModelTaskError(f"Encoders of the family '{self.name}' cannot be cut.")

    def apply_changes(self, tower: ImageTower, adapted: str, folder: Path) -> None:
        """Lay a trained model's changes into an image tower, whole, in place."""
        raise ModelTaskError(f"Changes of '{tower.name}' cannot be merged.")

    def write_changed(self, tower: ImageTower, state: Mapping[str, torch.Tensor], folder: Path) -> list[str]:
        """Put an image tower whose weights changed to `state` into a folder, as `load_adapted` reads it; the files."""
        raise ModelTaskError(f"Changes of '{tower.name}' cannot be kept.")

    def write_merged(
        self, source: EncoderSource, config: EncoderConfig, changes: tuple[str, Path] | None, folder: Path
    ) -> None:
        """Write the whole encoder as safetensors; `changes` are how a trained model changed it, and its folder."""
        raise ModelTaskError(f"Models of the family '{self.name}' cannot be written as safetensors.")

    def named_classes(self, name: str = "") -> tuple[Vectors, Vectors] | None:
        """Rows float32[k, dim] of a classifier over the features of the built-in model, or of the variant `name`, and
        unit sentence vectors float32[k, s] of its classes' names, from which photos of these classes can be simulated;
        None without one.
        """
        return None

    def has_server(self, settings: Settings) -> bool:
        """Whether the settings name a server that runs its model."""
        return False

    def connect(self, settings: Settings) -> RemoteModel:
        """The model on that server; raises ModelNotFoundError where the settings name none."""
        raise ModelNotFoundError(f"There is no model '{self.name}' here.")


class FamilyTable(Protocol):
    """The families of this process, as the registry is handed them (`app.families.FAMILIES`)."""

    def find(self, name: str) -> Family | None:
        """The family of that name."""

    def of_kind(self, kind: Kind) -> Sequence[Family]:
        """The families whose models are of that kind."""

    def resolve(self, kind: Kind, name: str) -> EncoderSource:
        """What a name means; raises ModelNotFoundError and ModelUnavailableError."""

    def declared_tasks(self, source: EncoderSource) -> frozenset[str] | None:
        """The tasks that a vision-language model's own files name; None where only loading it tells."""

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Encoder | Vlm:
        """A model ready to serve; blocks for seconds."""
