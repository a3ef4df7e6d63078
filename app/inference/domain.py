"""What a checkpoint knows of the world: a small bank of vectors, and whether a picture is like any of them.

It lies in one file beside the weights, `domain.safetensors`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.inference.sources import DOMAIN_FILE, EncoderSource

log = logging.getLogger(__name__)

DOMAIN_ENCODER = "lite"
"""The encoder whose vectors a bank holds: it ships with the service and takes about 10 ms a picture."""
MAX_DOMAIN_BYTES = 4 << 20
MAX_WORDS_CHARS = 300
_ROWS, _COSINES = "rows", "least"


@dataclass(frozen=True)
class Domain:
    """The pictures that a checkpoint was made for."""

    knows: str
    """Completes "it knows only ...", such as `drawings of one coloured shape`."""
    encoder: str
    """Key of the vector space (`LiveEncoder.key`): vectors of another one are not comparable."""
    rows: NDArray[np.float32]
    """float32[n, d] of unit norm."""
    least: NDArray[np.float32]
    """float32[n]: the least cosine to each row that counts as like it."""

    def covers(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """bool[m] for float32[m, d] of unit norm: whether each is like any row."""
        inside: NDArray[np.bool_] = np.any(vectors @ self.rows.T >= self.least, axis=1)
        return inside

    def extend(self, other: Domain) -> Domain:
        """The pictures of both; raises ValueError where their vectors are of different spaces."""
        if other.encoder != self.encoder:
            raise ValueError("two domains are compared by different encoders")
        return Domain(
            f"{self.knows} and {other.knows}",
            self.encoder,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.least, other.least]),
        )


def write_domain(domain: Domain, folder: Path) -> None:
    """Write the bank as float16 into the folder of a checkpoint."""
    save_file(
        {_ROWS: domain.rows.astype(np.float16), _COSINES: domain.least.astype(np.float32)},
        folder / DOMAIN_FILE,
        metadata={"knows": domain.knows, "encoder": domain.encoder},
    )
    (folder / DOMAIN_FILE).chmod(0o644)


def read_domain(folder: Path) -> Domain | None:
    """The domain of the checkpoint in a folder; None where it carries none, or one that cannot be read.

    Blocks for one small file, once for each version of it.
    """
    path = folder / DOMAIN_FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return _read(path, found.st_mtime_ns, found.st_size)


def domain_of(source: EncoderSource) -> Domain | None:
    """The domain of a model, without fetching anything; None where nobody has said what it knows."""
    return read_domain(Path(source.location)) if source.is_local and source.location else None


def _are_finite(*arrays: NDArray[np.float32]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


@lru_cache(maxsize=64)
def _read(path: Path, _modified_ns: int, size: int) -> Domain | None:
    """Untrusted where the checkpoint was uploaded: its size, its shapes and its words are bounded."""
    try:
        if size > MAX_DOMAIN_BYTES:
            raise ValueError(f"it is larger than {MAX_DOMAIN_BYTES >> 20} MiB")
        with safe_open(path, framework="np") as file:
            words = file.metadata() or {}
            rows = file.get_tensor(_ROWS).astype(np.float32)
            least = file.get_tensor(_COSINES).astype(np.float32)
        if rows.ndim != 2 or least.shape != rows.shape[:1] or not _are_finite(rows, least):
            raise ValueError("its tensors do not go together")
        knows = " ".join("".join(c for c in words["knows"] if c.isprintable()).split())[:MAX_WORDS_CHARS]
        norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return Domain(knows, words["encoder"], rows / norms, least)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        log.warning("the domain of '%s' is not used: %s", path.parent.name, error)
        return None
