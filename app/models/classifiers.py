"""A trained classifier as files: an encoder's features in, calibrated scores of its own labels out.

The share for none of the labels and the likeness to examples come from the same closed-form head as a collection's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from app.heads import Head, LabelShares, Prediction, SupportSet, fit_head
from app.heads.priors import Priors, named_priors
from app.heads.types import softmax, unit
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Vectors

NOTE = "vision.json"
WEIGHTS = "head.safetensors"
EXEMPLARS = 16
"""Examples kept a label, from which likeness and the share for none are fitted again when it is loaded."""
MAX_DIM = 16_384
"""Longest features: the closed-form part takes memory by their square."""
MAX_COUNT = 10**12
"""Most examples of a label that a file may tell of."""
_MAX_VALUE = 1e18
"""No number on the way to a score is larger, so that none overflows in float32, nor its square."""

Adapted = Literal["peft", "tail", "full"]


class ClassifierNote(BaseModel):
    """What `vision.json` says of a classifier."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = 1
    kind: Literal["classifier"] = "classifier"
    id: str = ""
    task: Literal["classification"] = "classification"
    method: str
    family: str
    base_model: str
    """A word that the model registry takes."""
    base_fingerprint: str
    labels: list[str]
    adapted: Adapted | None = None
    """How the encoder was changed: a LoRA adapter, its last stages, all of it, or (null) not at all."""
    dim: int = Field(ge=1, le=MAX_DIM)
    temperature: float = Field(gt=0, le=10_000, allow_inf_nan=False)
    """The base encoder's."""
    unit_norm: bool = True
    """Whether the projection's output is scaled to unit norm."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Best score below which an image is rejected; null: as for a collection."""
    label_counts: list[Annotated[int, Field(ge=0, le=MAX_COUNT)]] | None = None
    """Of a closed-form head: the examples of each label, as often as which it is expected; null: all are expected
    alike. A head keeps few of its examples, so that these do not tell.
    """


@dataclass(frozen=True)
class Weights:
    """What a method learned on top of features float[n, d]; without `rows` the closed-form head decides."""

    exemplars: Vectors
    """float32[e, d]: features of examples."""
    owners: NDArray[np.int64]
    """int64[e]: the label of each, by its index."""
    texts: Vectors | None = None
    """float32[C, d]: the labels' texts in the features' space."""
    layers: tuple[tuple[Vectors, Vectors], ...] = ()
    """(weight float32[out, in], bias float32[out]) of a projection, ReLU between them."""
    rows: Vectors | None = None
    """float32[C, k]: logits are `z @ rows.T + bias`, their temperature included."""
    bias: Vectors | None = None
    """float32[C]"""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """By their names in the file."""
        found: dict[str, NDArray[Any]] = {"exemplars": self.exemplars, "owners": self.owners}
        for name in ("texts", "rows", "bias"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        for index, (weight, bias) in enumerate(self.layers):
            found |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
        return {name: np.ascontiguousarray(array) for name, array in found.items()}


class TrainedClassifier:
    """Immutable, and safe to share among threads."""

    def __init__(self, note: ClassifierNote, weights: Weights) -> None:
        """Fits the closed-form part; raises ModelUnavailableError where shapes do not go together."""
        self.note = note
        self.labels = note.labels
        self.base_model = note.base_model
        self.adapted = note.adapted
        self.weights = weights
        _check(note, weights)
        try:
            self.head = _build_closed_form(note, weights)
            found = self.head.predict(weights.exemplars[:EXEMPLARS])
        except (ValueError, ArithmeticError):
            found = None
        if found is None or not (np.isfinite(found.scores).all() and np.isfinite(found.none).all()):
            raise ModelUnavailableError(f"The examples of '{note.id}' tell nothing: no head can be fitted.")
        self.threshold = self.head.threshold if note.threshold is None else note.threshold

    @classmethod
    def load(cls, folder: Path) -> TrainedClassifier:
        """What `save_classifier` wrote; raises ModelUnavailableError for anything else."""
        note = read_note(folder)
        try:
            tensors = load_file(folder / WEIGHTS)
        except (
            OSError,
            SafetensorError,
            KeyError,
            TypeError,
            ValueError,
        ):  # a type that numpy lacks among them
            raise ModelUnavailableError(f"The file {WEIGHTS} of '{note.id}' cannot be read.") from None
        count = sum(name.endswith(".weight") for name in tensors)
        try:
            layers = tuple((tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]) for i in range(count))
            weights = Weights(
                tensors["exemplars"],
                tensors["owners"],
                tensors.get("texts"),
                layers,
                tensors.get("rows"),
                tensors.get("bias"),
            )
        except KeyError as error:
            raise ModelUnavailableError(f"The file {WEIGHTS} of '{note.id}' lacks {error}.") from None
        return cls(note, weights)

    def predict(self, features: Vectors) -> Prediction:
        """Scores of float32[m, d], unit rows by this classifier's encoder; see `app.heads.Prediction`."""
        features = unit(np.atleast_2d(features))
        found = self.head.predict(features)
        if self.weights.rows is None:
            return found
        scores = softmax(self.logits(features)) * (1.0 - found.none.astype(np.float64))[:, None]
        return Prediction(scores.astype(np.float32), found.none, found.similarity)

    def logits(self, features: Vectors) -> NDArray[np.float64]:
        """float64[m, C] of float32[m, d]; only where the method learned rows."""
        weights = self.weights
        if weights.rows is None or weights.bias is None:
            raise ValueError("the closed-form head has no logits of its own")
        projected = project(features, weights.layers, unit_norm=self.note.unit_norm)
        return np.asarray(projected @ weights.rows.T + weights.bias, np.float64)

    @property
    def memory_bytes(self) -> int:
        """Of the weights, without the encoder's."""
        return sum(tensor.nbytes for tensor in self.weights.tensors().values())


def project(features: Vectors, layers: tuple[tuple[Vectors, Vectors], ...], *, unit_norm: bool) -> Vectors:
    """float32[m, d] through the layers, ReLU between them: float32[m, k]."""
    for index, (weight, bias) in enumerate(layers):
        features = features @ weight.T + bias
        if index < len(layers) - 1:
            features = np.maximum(features, 0.0)
    return unit(features) if unit_norm and layers else features


def save_classifier(folder: Path, note: ClassifierNote, weights: Weights) -> list[str]:
    """Write both files; their names."""
    _check(note, weights)
    save_file(weights.tensors(), folder / WEIGHTS)
    (folder / NOTE).write_text(json.dumps(note.model_dump(), indent=2) + "\n", encoding="utf-8")
    return [NOTE, WEIGHTS]


def read_note(folder: Path) -> ClassifierNote:
    """What the folder says of itself; raises ModelUnavailableError."""
    try:
        return ClassifierNote.model_validate_json((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        raise ModelUnavailableError(f"The {NOTE} of this classifier cannot be read.") from None


def select_exemplars(
    features: Vectors, owners: NDArray[np.int64], *, most: int = EXEMPLARS
) -> tuple[Vectors, NDArray[np.int64]]:
    """At most so many rows a label: the first and then each time the one farthest from those chosen (Gonzalez 1985)."""
    chosen: list[int] = []
    for label in np.unique(owners):
        rows = np.flatnonzero(owners == label)
        picked = [rows[0]]
        nearest = features[rows] @ features[rows[0]]
        while len(picked) < min(most, len(rows)):
            farthest = int(nearest.argmin())
            picked.append(rows[farthest])
            nearest = np.maximum(nearest, features[rows] @ features[rows[farthest]])
        chosen.extend(int(row) for row in picked)
    return features[chosen], owners[chosen]


def _build_closed_form(note: ClassifierNote, weights: Weights) -> Head:
    supports = SupportSet(note.dim)
    supports.add(weights.owners, weights.exemplars)
    ids = list(range(len(note.labels)))
    counts = None if note.label_counts is None else np.array(note.label_counts, np.int64)
    shares: LabelShares = "equal" if counts is None else "examples"
    return fit_head(
        note.labels, weights.texts, supports, ids, _priors(note), label_shares=shares, counts=counts
    )


def _priors(note: ClassifierNote) -> Priors:
    """Those of the base; of a changed encoder only what holds for any."""
    fingerprint = "" if note.adapted else note.base_fingerprint
    return named_priors(note.base_model, fingerprint, note.temperature, note.dim)


def _check(note: ClassifierNote, weights: Weights) -> None:
    count = len(note.labels)
    shapes = [
        weights.exemplars.ndim == 2 and weights.exemplars.shape[1] == note.dim,
        weights.owners.shape == (len(weights.exemplars),),
        bool(len(weights.owners)) and weights.owners.min() >= 0 and weights.owners.max() < count,
        weights.texts is None or weights.texts.shape == (count, note.dim),
        (weights.rows is None) == (weights.bias is None),
        weights.rows is None or (weights.rows.ndim == 2 and len(weights.rows) == count),
        weights.bias is None or weights.bias.shape == (count,),
        note.label_counts is None or len(note.label_counts) == count,
    ]
    size = note.dim
    for weight, bias in weights.layers:
        shapes.append(weight.ndim == 2 and weight.shape[1] == size and bias.shape == (len(weight),))
        size = len(weight)
    if weights.rows is not None:
        shapes.append(weights.rows.shape[-1] == size)
    tensors = weights.tensors()
    types = [
        tensor.dtype == (np.int64 if name == "owners" else np.float32) for name, tensor in tensors.items()
    ]
    if not all(types):
        raise ModelUnavailableError(f"The tensors of '{note.id}' are not float32, its owners not int64.")
    if not all(shapes) or len(set(note.labels)) != count or count < 2:
        raise ModelUnavailableError(f"The parts of '{note.id}' do not go together.")
    if not _is_bounded(note, weights):
        raise ModelUnavailableError(
            f"Tensors of '{note.id}' hold numbers that are not finite, or far too large."
        )


def _is_bounded(note: ClassifierNote, weights: Weights) -> bool:
    """Whether features of length one can lead to nothing but finite numbers."""

    def norm(matrix: NDArray[Any]) -> float:
        return float(np.linalg.norm(matrix.astype(np.float64)))

    sizes, size = [norm(weights.exemplars)], 1.0
    if weights.texts is not None:
        sizes.append(norm(weights.texts))
    for weight, bias in weights.layers:
        size = norm(weight) * size + norm(bias)
        sizes.append(size)
    if weights.layers and note.unit_norm:
        size = 1.0
    if weights.rows is not None and weights.bias is not None:
        sizes.append(norm(weights.rows) * size + norm(weights.bias))
    return all(size < _MAX_VALUE for size in sizes)  # false of what is no number
