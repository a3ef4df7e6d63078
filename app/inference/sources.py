"""A resolved model name, and how models run in this process."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import Any, Literal

from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.optimisation import AUTO
from app.settings import Settings

DOMAIN_FILE = "domain.safetensors"
"""What a checkpoint knows of the world (`app.inference.domain`); it changes nothing of what the model computes."""

Kind = Literal["encoder", "vlm"]

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
"""Where this project's own trained checkpoints lie; each is found by its folder's name."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
FileVersion = tuple[int, int, int]
_NOT_SLUG = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class EncoderSource:
    """A model's name, resolved to a family and a place."""

    family: str
    """Name of the model family; for a hub id a guess from the id until its configuration is read."""
    name: str
    """Slug, without a slash."""
    location: str
    """Local folder or hub id; empty for a family's built-in model, which needs no files of its own."""
    is_local: bool
    aliases: tuple[str, ...] = ()
    """Other names for the same encoder, such as its hub id."""


@dataclass(frozen=True)
class EncoderConfig:
    """How encoders run in this process."""

    device: str
    cpu_runtime: str
    """`auto`, `onnx` or `torch`."""
    int8: bool
    parity_cosine: float
    threads: int
    """0 means all cores."""
    cache_dir: Path
    allow_downloads: bool
    optimisation: str = AUTO
    """`auto` or one of `app.inference.optimisation.LEVELS`."""
    optimisations: Mapping[str, str] = field(default_factory=dict)
    """Levels of single models, by name or alias."""
    parity_tokens: float = 0.9
    """Least share of tokens that an optimised vision-language model must have in common with float32."""
    vlm_max_batch: int = 16
    vlm_cache_bytes: int = 0
    """Of one model's keys and values; 0 is an eighth of the device's memory."""
    max_batch: int = 0
    """Largest batch on a GPU; 0 is measured."""
    gpu_graphs: bool = True
    gpu_decode: str = "off"
    """`auto` or `off`."""
    gpu_staging_mb: int = 64
    lite_quality: str = "fast"
    """`fast` or `best`."""

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

    def at_level_of(self, source: EncoderSource) -> EncoderConfig:
        """The same with the level that is asked of this model."""
        return replace(self, optimisation=self.level_of(source))

    @classmethod
    def from_settings(cls, settings: Settings) -> EncoderConfig:
        """The part of the settings that encoders need; the cache is a folder inside the data folder."""
        return cls(
            device=settings.models.device,
            cpu_runtime=settings.models.cpu_runtime,
            int8=settings.models.int8,
            parity_cosine=settings.models.parity_cosine,
            threads=settings.models.threads,
            cache_dir=settings.server.data_dir.expanduser() / "cache",
            allow_downloads=settings.models.allow_downloads,
            optimisation=settings.models.optimisation,
            optimisations=settings.models.levels_by_model,
            parity_tokens=settings.models.parity_tokens,
            vlm_max_batch=settings.answers.vlm_max_batch,
            vlm_cache_bytes=settings.answers.vlm_cache_mb << 20,
            max_batch=settings.batching.max_batch,
            gpu_graphs=settings.models.gpu_graphs,
            gpu_decode=settings.models.gpu_decode,
            gpu_staging_mb=settings.models.gpu_staging_mb,
            lite_quality=settings.models.lite_quality,
        )


def last_of(name: str) -> str:
    """A name as errors show it to clients: of a folder of this machine the last part only."""
    return Path(name).name if Path(name).is_absolute() else name


def slug(name: str) -> str:
    """A name as it may stand in an address: lower case, without slashes or spaces."""
    return _NOT_SLUG.sub("-", name.lower()).strip("-.") or "encoder"


def read_unchanged(folder: Path, name: str) -> Mapping[str, Any]:
    """`read_json` that reads and parses a file again only where it changed: names are resolved at every request."""
    version = file_version(folder, name)
    return read_json(folder, name) if version is None else _read_once(folder, name, version)


def file_version(folder: Path, name: str) -> FileVersion | None:
    """What changes with every write of a file; None where there is none."""
    try:
        status = os.stat(f"{folder}/{name}")
    except (OSError, ValueError):
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None


@lru_cache(256)
def _read_once(folder: Path, name: str, _version: FileVersion) -> Mapping[str, Any]:
    return MappingProxyType(read_json(folder, name))


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object beside the weights; raises ModelNotFoundError and ModelUnavailableError."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"The folder '{folder.name}' holds no model: it has no {name}.") from None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelUnavailableError(f"The {name} of '{folder.name}' cannot be read.")
    return found
