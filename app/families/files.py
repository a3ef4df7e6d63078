"""The files of a Hugging Face checkpoint: fetched, checked for safetensors, and hashed.

Never unpickles, never runs code that came with a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open

from app.errors import VisionError
from app.inference.errors import ModelNotFoundError, ModelUnavailableError, OutOfMemoryError
from app.inference.sources import DOMAIN_FILE, EncoderConfig, EncoderSource

WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
CONVERTED_TITLE = "Adding `safetensors` variant of this model"
CONVERTER = "SFconvertbot"


def fetch(source: EncoderSource, config: EncoderConfig) -> Path:
    """The local folder with a model's files; asks the hub only where downloads are allowed.

    Raises ModelNotFoundError when the hub has no such model (or none is cached and downloads are off),
    ModelUnavailableError when the hub cannot be reached or the checkpoint has no safetensors.
    """
    folder = Path(source.location) if source.is_local else _snapshot(source.location, config, "main")
    if not _has_weights(folder) and not source.is_local and config.allow_downloads:
        folder = _snapshot(source.location, config, _find_converted_revision(source.location))
    if not _has_weights(folder):
        raise ModelUnavailableError(
            f"'{source.name}' has no weights in safetensors; other formats can carry code and are not loaded."
        )
    return folder


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn whatever a library raises over a malformed checkpoint into `ModelUnavailableError`."""
    try:
        yield
    except (VisionError, MemoryError):
        raise
    except ImportError as error:
        needed = str(error).strip().splitlines()[0] if str(error).strip() else "an optional dependency"
        raise ModelUnavailableError(f"'{name}' needs a Python package that is missing: {needed}") from error
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise OutOfMemoryError(f"There is not enough memory to load '{name}'.") from error
        raise ModelUnavailableError(
            f"The files of '{name}' are damaged or incomplete.", cause=f"{type(error).__name__}: {error}"
        ) from error


def fingerprint(folder: Path, cache_dir: Path) -> str:
    """16 hex digits of a SHA-256 over names and contents of all files that decide what a vector is.

    Digests of large files are remembered in `cache_dir` by path, size and modification time.
    """
    remembered = cache_dir / "digests.json"
    try:
        known: dict[str, str] = json.loads(remembered.read_text())
    except (OSError, ValueError):
        known = {}
    total = hashlib.sha256()
    added = False
    for path in sorted(p for p in folder.iterdir() if p.is_file() and _counts(p.name)):
        stat = path.stat()
        key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
            added = True
        total.update(f"{path.name} {known[key]}\n".encode())
    if added:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            cache_dir.mkdir(parents=True, exist_ok=True)
            draft = remembered.with_suffix(f".{os.getpid()}.tmp")
            draft.write_text(json.dumps(known))
            os.replace(draft, remembered)
    return total.hexdigest()[:16]


def _counts(name: str) -> bool:
    return name.endswith((".safetensors", ".json", ".txt", ".model")) and name not in (
        "vision.json",
        DOMAIN_FILE,
    )


def _has_weights(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()


def _snapshot(hub_id: str, config: EncoderConfig, revision: str) -> Path:
    try:
        return Path(
            huggingface_hub.snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(WANTED),
                ignore_patterns=["*/*"],
                local_files_only=not config.allow_downloads,
            )
        )
    except GatedRepoError:
        raise ModelUnavailableError(f"'{hub_id}' is gated: accept its terms and set HF_TOKEN.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelNotFoundError(f"The hub has no model '{hub_id}'.") from None
    except LocalEntryNotFoundError:
        if config.allow_downloads:
            raise ModelUnavailableError(f"'{hub_id}' is not here and the hub cannot be reached.") from None
        raise ModelNotFoundError(f"'{hub_id}' is not here and downloads are off.") from None
    except Exception as error:
        raise ModelUnavailableError(f"'{hub_id}' could not be fetched.", cause=str(error)) from error


def _find_converted_revision(hub_id: str) -> str:
    """Where the hub's own converter put the safetensors of an older model; `main` when it has not."""
    with contextlib.suppress(Exception):  # an answer the hub does not give leaves the plain refusal standing
        for thread in huggingface_hub.get_repo_discussions(hub_id, author=CONVERTER):
            if thread.is_pull_request and thread.title == CONVERTED_TITLE and thread.git_reference:
                return thread.git_reference
    return "main"


def read_scalar(folder: Path, name: str) -> float:
    """One number of a safetensors checkpoint, sharded or not, without loading the rest."""
    index = folder / "model.safetensors.index.json"
    file = "model.safetensors"
    if index.is_file():
        file = json.loads(index.read_text())["weight_map"][name]
    with safe_open(folder / file, framework="pt") as tensors:
        if name not in tensors.keys():  # noqa: SIM118  the handle is no mapping
            raise SafetensorError(f"no tensor {name}")
        return float(tensors.get_tensor(name).float().item())
