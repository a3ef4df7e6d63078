"""The default encoder: EfficientNet-Lite features for images, MiniLM mapped into their space for texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import torch
from PIL import Image

from app.families import text_mapping
from app.families.lite import networks, sentences
from app.families.lite.efficientnet_onnx import to_onnx
from app.families.lite.features import expected_features
from app.families.lite.variants import CROP, DIMS, SIDE, Variant, fingerprint, variant_of
from app.inference.preprocessing import BILINEAR, Preprocessing
from app.inference.protocols import Pixels, Rgb, Vectors
from app.inference.resizing import normalise, resize, resize_by_pillow
from app.inference.runtimes import Tower, choose, launcher_of
from app.inference.sources import EncoderConfig, EncoderSource

TAIL = "tail.safetensors"
"""Weights of the last stages where training changed them, by their names in `EfficientNetLite0`."""
STEPS = Preprocessing((SIDE, SIDE), share=CROP, resample=BILINEAR, rescale=1 / 128, mean=(127 / 128,) * 3)
"""Shorter side to 256, the middle 224 x 224, (x - 127) / 128 as in training."""
TEMPERATURES: dict[Variant, float] = {"pooled": 30.0, "roots": 35.0, "pair": 35.0}
"""Measured by scripts/measure_imagenet_mapping.py; docs/encoders.md holds the table."""


def prepare(image: Image.Image) -> Pixels:
    """float32[3, 224, 224] of an RGB image for training, as the service resizes it."""
    return normalise(resize(image, STEPS), STEPS)


def prepare_by_pillow(image: Image.Image) -> Pixels:
    """float32[3, 224, 224] by Pillow alone, which the service's way is held against."""
    return normalise(resize_by_pillow(image, STEPS), STEPS)


class LiteEncoder:
    """See `app.inference.protocols.Encoder`."""

    family = "lite"
    input_size = SIDE

    def __init__(self, source: EncoderSource, config: EncoderConfig, variant: Variant | None = None) -> None:
        """`variant` is what the source's name and the settings say unless given."""
        self.name = source.name
        self.variant = variant or variant_of(source.name, config.lite_quality)
        self.dim = DIMS[self.variant]
        self.temperature = TEMPERATURES[self.variant]
        self._mean = expected_features(networks.build(self.variant))
        self.fingerprint = self._own_fingerprint()
        tower = Tower(
            fingerprint=self.fingerprint,
            build=self._module,
            prepare=prepare_by_pillow,
            steps=STEPS,
            finish=self._finish,
            convolutional=True,
            to_onnx=partial(to_onnx, side=SIDE),
        )
        self._images, self.optimisation, self._tower, self.min_decoded_side = choose(
            tower, config.at_level_of(source)
        )
        self.launcher = launcher_of(self._images, self._finish, self.fingerprint, config)
        self.memory_bytes = self._images.memory_bytes + sentences.MEMORY_BYTES

    @property
    def runtime(self) -> str:
        """See `Encoder`; on a GPU it changes while graphs are recorded."""
        return self._images.label

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        """See `app.inference.protocols.Encoder`: uint8[3, 224, 224]."""
        return self._tower.preprocess(image)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """uint8[n, 3, 224, 224] to float32[n, d]: centred features of unit norm."""
        return self._finish(self._images.run(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d]: the row a classifier would have for them, of unit norm."""
        return self._mapping.apply(self._sentences.encode(texts))

    def _module(self) -> torch.nn.Module:
        return networks.build(self.variant)

    def _own_fingerprint(self) -> str:
        return fingerprint(self.variant)

    def _finish(self, features: Vectors) -> Vectors:
        return text_mapping.unit(features - self._mean)

    @cached_property
    def _sentences(self) -> sentences.SentenceEncoder:
        return sentences.SentenceEncoder()

    @cached_property
    def _mapping(self) -> text_mapping.TextMapping:
        rows, anchors = networks.named_classes(self.variant)
        return text_mapping.fit(anchors, rows)
