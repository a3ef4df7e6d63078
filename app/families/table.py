"""The table of model families, as the registry asks for it (`app.inference.table`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.families.encoder_source import CHECKPOINTS
from app.families.encoders import FAMILIES, load_encoder, resolve
from app.families.remote.vlm import RemoteVlm
from app.families.transformers_vlm import TransformersVlm
from app.families.vlm_source import FAMILIES as VLM_FAMILIES
from app.families.vlm_source import declared_tasks
from app.families.vlms import load_vlm, resolve_vlm
from app.inference.protocols import Encoder
from app.inference.sources import REMOTE, EncoderConfig, EncoderSource, Kind
from app.settings import Settings


class Families:
    """Every family of this service."""

    def __init__(self, load: Callable[[EncoderSource, EncoderConfig], Encoder] = load_encoder) -> None:
        self._load = load

    def resolve(self, kind: Kind, name: str) -> EncoderSource:
        """What a name means; raises ModelNotFoundError, and ModelUnavailableError for a folder of something else."""
        return resolve(name) if kind == "encoder" else resolve_vlm(name)

    def shipped(self) -> list[str]:
        """Names of the checkpoints that come with this project."""
        return sorted(folder.name for folder in CHECKPOINTS.iterdir()) if CHECKPOINTS.is_dir() else []

    def words(self) -> frozenset[str]:
        """Words that mean a family, which no trained model may take."""
        return frozenset({*FAMILIES, *VLM_FAMILIES.values()})

    def declared_tasks(self, source: EncoderSource) -> frozenset[str] | None:
        """The tasks that a vision-language model's own files name; None where only loading it tells."""
        return declared_tasks(Path(source.location)) if source.is_local else None

    def load_encoder(self, source: EncoderSource, config: EncoderConfig) -> Encoder:
        """A loaded encoder; blocks for seconds. Raises ModelNotFoundError and ModelUnavailableError."""
        return self._load(source, config)

    def load_vlm(self, source: EncoderSource, config: EncoderConfig) -> TransformersVlm:
        """A loaded vision-language model, likewise."""
        return load_vlm(source, config)

    def connect(self, settings: Settings) -> RemoteVlm | None:
        """The model behind the server that the settings name; None where they name none."""
        if not settings.remote_url:
            return None
        key = settings.remote_api_key.get_secret_value() if settings.remote_api_key else None
        return RemoteVlm(
            REMOTE, settings.remote_url, settings.remote_model, key, attempts=settings.remote_attempts
        )
