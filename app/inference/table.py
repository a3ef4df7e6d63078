"""What the registry asks of the table of model families, which `app.bootstrap` hands it."""

from __future__ import annotations

from typing import Protocol

from app.inference.protocols import Encoder, RemoteModel, Vlm
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from app.settings import Settings


class ModelTable(Protocol):
    """Names of models, and how each is loaded."""

    def resolve(self, kind: Kind, name: str) -> EncoderSource:
        """What a name means; raises ModelNotFoundError, and ModelUnavailableError for a folder of something else."""

    def shipped(self) -> list[str]:
        """Names of the checkpoints that come with this project."""

    def words(self) -> frozenset[str]:
        """Words that mean a family, which no trained model may take."""

    def declared_tasks(self, source: EncoderSource) -> frozenset[str] | None:
        """The tasks that a vision-language model's own files name; None where only loading it tells."""

    def load_encoder(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        """A loaded encoder; blocks for seconds. Raises ModelNotFoundError and ModelUnavailableError."""

    def load_vlm(self, source: EncoderSource, config: EncoderConfig) -> Vlm:
        """A loaded vision-language model, likewise."""

    def connect(self, settings: Settings) -> RemoteModel | None:
        """The model behind the server that the settings name; None where they name none."""
