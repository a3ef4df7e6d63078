"""CLIP and SigLIP of any size through transformers: their files, preprocessing, towers and texts.

Knows the Hugging Face formats; knows nothing of which runtime the image tower gets, of batches or requests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError, safe_open

from app.families import files
from app.families.text_mapping import unit
from app.inference import device as devices
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes import Tower, choose
from app.inference.sources import EncoderConfig, EncoderSource

TEXT_BATCH = 64

transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


class _ImageTower(torch.nn.Module):
    """One tensor in, one tensor out."""

    def __init__(self, model: torch.nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = getattr(self.model(pixel_values=pixels), self.output)
        return features


class HuggingFaceEncoder:
    """What CLIP and SigLIP share; see `app.inference.protocols.Encoder`.

    Each tower is loaded by itself: the image tower only where the chosen runtime needs the torch weights, the
    text tower with the first text.
    """

    family: str
    _vision_class: type[Any]
    _text_class: type[Any]
    _output: str
    _padding: str | bool
    """SigLIP was trained on texts padded to the full length, CLIP masks the padding."""

    def __init__(self, source: EncoderSource, config: EncoderConfig) -> None:
        """Raises `ModelNotFoundError` or `ModelUnavailableError`, as `load_encoder` says."""
        self.name = source.name
        self._folder = Path(source.location)
        self._device = devices.parse(config.device)
        with files.loading(self.name):
            self._config = transformers.AutoConfig.from_pretrained(self._folder, local_files_only=True)
            load_processor: Any = transformers.AutoImageProcessor.from_pretrained
            self._processor = load_processor(self._folder, local_files_only=True, backend="pil")
            self.temperature = math.exp(read_scalar(self._folder, "logit_scale"))
        self.input_size = input_size(self._processor)
        self.dim = self._dim()
        self.fingerprint = files.fingerprint(self._folder, config.cache_dir)
        tower = Tower(
            fingerprint=self.fingerprint,
            build=self._build_image_tower,
            preprocess=self.preprocess,
            finish=unit,
            convolutional=False,
        )
        with files.loading(self.name):
            self._images, self.optimisation = choose(tower, config.runtime_for(source))
        self.runtime = self._images.label
        self.memory_bytes = self._images.memory_bytes + self._text_bytes()

    def preprocess(self, image: Image.Image) -> Pixels:
        """One image to float32[3, h, w] as the checkpoint's own processor prescribes."""
        pixels = self._processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, h, w] to float32[n, d] of unit norm."""
        return unit(self._images.run(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d] of unit norm; longer texts are cut at the model's context length."""
        parts = [self._encode_texts(texts[i : i + TEXT_BATCH]) for i in range(0, len(texts), TEXT_BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def _encode_texts(self, texts: Sequence[str]) -> Vectors:
        tokens = self._tokenizer(
            list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self._config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        wanted = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        with torch.inference_mode():
            inputs = {name: tensor.to(self._device.torch_name) for name, tensor in wanted.items()}
            vectors: Vectors = getattr(self._text_tower(**inputs), self._text_output).float().cpu().numpy()
        return unit(vectors)

    @property
    def _text_output(self) -> str:
        return self._output.replace("image", "text")

    def _dim(self) -> int:
        raise NotImplementedError

    def _build_image_tower(self) -> torch.nn.Module:
        model = self._load(self._vision_class, torch.float32)
        return _ImageTower(model, self._output).eval().requires_grad_(False)

    @cached_property
    def _text_tower(self) -> Any:
        dtype = getattr(torch, self._device.dtype_name)
        model = self._load(self._text_class, dtype).to(self._device.torch_name)
        return model.eval().requires_grad_(False)

    @cached_property
    def _tokenizer(self) -> Any:
        with files.loading(self.name):
            return transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    def _load(self, model_class: type[Any], dtype: torch.dtype) -> Any:
        with files.loading(self.name):
            model, report = model_class.from_pretrained(
                self._folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
            )
        if report["missing_keys"]:
            raise ModelUnavailableError(f"The weights of '{self.name}' are incomplete.")
        return model

    def _text_bytes(self) -> int:
        width = torch.finfo(getattr(torch, self._device.dtype_name)).bits // 8
        text = self._config.text_config
        layers = text.num_hidden_layers * (
            4 * text.hidden_size**2 + 2 * text.hidden_size * text.intermediate_size
        )
        return int(width * (layers + text.vocab_size * text.hidden_size))


class ClipEncoder(HuggingFaceEncoder):
    """CLIP (Radford et al. 2021)."""

    family = "clip"
    _vision_class = transformers.CLIPVisionModelWithProjection
    _text_class = transformers.CLIPTextModelWithProjection
    _output = "image_embeds"
    _padding = True

    def _dim(self) -> int:
        return int(self._config.projection_dim)


class SiglipEncoder(HuggingFaceEncoder):
    """SigLIP and the fixed-resolution SigLIP 2 (Zhai et al. 2023; Tschannen et al. 2025).

    Their sigmoid's bias is the same for every label and leaves a softmax over labels unchanged, so it is not
    used; `temperature` is exp(logit_scale).
    """

    family = "siglip"
    _vision_class = transformers.SiglipVisionModel
    _text_class = transformers.SiglipTextModel
    _output = "pooler_output"
    _padding = "max_length"

    def _dim(self) -> int:
        return int(self._config.vision_config.hidden_size)


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


def input_size(processor: Any) -> int:
    """The shorter side before cropping: `shortest_edge`, or the smaller of a fixed height and width."""
    size = dict(processor.size)
    if size.get("shortest_edge"):
        return int(size["shortest_edge"])
    return int(min(size["height"], size["width"]))
