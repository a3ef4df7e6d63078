"""LoRA in both towers of CLIP or SigLIP, trained on labelled images against their labels' texts.

Knows peft, the towers and prompts; the loop is `encoder_training`'s. After CLIP-LoRA (Zanella and Ben Ayed 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from app.collections.texts import prompts
from app.families import files
from app.families.clip.encoder import ClipEncoder, SiglipEncoder
from app.families.encoders import resolve
from app.inference.adapters import WEIGHTS
from app.inference.protocols import Pixels, Vectors
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.media.augmentation import augment
from workers.methods.common.encoder_training import EncoderTraining
from workers.shared.examples import Item

RANK, DROPOUT = 2, 0.25
MOST_TRAINED_TEXTS = 64
"""Labels up to which texts are encoded anew in every step; beyond, the text tower stays as it is and its vectors are
computed once."""
_BATCH = 16
_LARGE = 20_000_000
"""Numbers in a model from which more than one thread pays."""
_FAMILIES: dict[str, tuple[type[Any], type[Any]]] = {
    "clip": (transformers.CLIPModel, ClipEncoder),
    "siglip": (transformers.SiglipModel, SiglipEncoder),
}
_STEPS_A_SHOT, _MOST_STEPS = 500, 300


class ClipLora(EncoderTraining):
    """See `workers.shared.method.TrainingMethod`."""

    adapted = "peft"
    rate = 2e-4

    def build(self) -> None:
        """The whole model in float32, adapters on q, k and v, everything else frozen."""
        run, params = self.run, self.params
        config = EncoderConfig.from_settings(run.settings)
        source = files.located(resolve(self.word), config)
        if source.family not in _FAMILIES:
            raise NotTrainableError(f"Encoders of the family '{source.family}' take no adapters.")
        model_class, encoder = _FAMILIES[source.family]
        folder = Path(source.location)
        self.family, self.fingerprint = source.family, files.fingerprint(folder, config.cache_dir)
        with files.loading(source.name):
            load_processor: Any = transformers.AutoImageProcessor.from_pretrained
            self.processor = load_processor(folder, local_files_only=True, backend="pil")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = model_class.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        self.temperature = float(model.logit_scale.detach().exp())
        self.one_thread = sum(one.numel() for one in model.parameters()) < _LARGE
        if params.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        with_texts = len(self.labels) <= MOST_TRAINED_TEXTS
        rank = params.rank or RANK
        lora = LoraConfig(
            r=rank,
            lora_alpha=params.alpha or rank,  # type: ignore[arg-type]  # peft takes any number
            lora_dropout=DROPOUT if params.dropout is None else params.dropout,
            target_modules=_targets(
                model, params.targets or ["q_proj", "k_proj", "v_proj"], texts=with_texts
            ),
        )
        self.peft = get_peft_model(model, lora).to(self.device)
        self.model: Any = model
        sentences = [prompts(one, self.examples.descriptions.get(one, "")) for one in self.labels]
        self.tokens = _tokenized(tokenizer, [one for several in sentences for one in several], encoder, model)
        self.owners = torch.tensor([i for i, several in enumerate(sentences) for _ in several])
        self.fixed_texts = None if with_texts else self._encode_texts().detach()
        if not with_texts:
            run.log(f"More than {MOST_TRAINED_TEXTS} labels: the text tower stays as it is.")
        self.steps = min(_STEPS_A_SHOT * max(len(self.train) // len(self.labels), 1), _MOST_STEPS)
        self.images: dict[str, Any] = {}
        self.untrained = self.current()

    def restart(self) -> None:
        """See `EncoderTraining`."""
        self.put(self.untrained)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The low-rank matrices."""
        return {name: one for name, one in self.peft.named_parameters() if one.requires_grad}

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        """See `EncoderTraining`: temperature times cosines of images and label texts."""
        self.peft.train()
        settings = self.params.changes()
        pixels = []
        for row in rows:
            image = self._image(self.train[int(row)])
            if self.params.augment:
                image = augment(image, self.rng, settings)
            pixels.append(self._pixels(image))
        images = self._encode_images(np.stack(pixels))
        logits: torch.Tensor = self.temperature * images @ self._texts().T
        return logits

    def features_of(self, items: Sequence[Item]) -> Vectors:
        """See `EncoderTraining`."""
        self.peft.eval()
        parts = [np.zeros((0, self._dim()), np.float32)]
        with torch.no_grad():
            for start in range(0, len(items), _BATCH):
                pixels = np.stack([self._pixels(self._image(one)) for one in items[start : start + _BATCH]])
                parts.append(self._encode_images(pixels).cpu().numpy())
        return np.concatenate(parts)

    def logits_of(self, features: Vectors) -> NDArray[np.float64]:
        """See `EncoderTraining`."""
        rows, _, _ = self.head()
        return np.asarray(features @ rows.T, np.float64)

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """See `EncoderTraining`: the labels' texts are the classifier."""
        self.peft.eval()
        with torch.no_grad():
            texts: Vectors = self._texts().cpu().numpy()
        return (self.temperature * texts).astype(np.float32), np.zeros(len(texts), np.float32), texts

    def write(self, folder: Path) -> list[str]:
        """The adapter in peft's format."""
        config = self.peft.peft_config["default"]
        config.base_model_name_or_path, config.inference_mode = self.word, True
        config.save_pretrained(str(folder))
        weights = get_peft_model_state_dict(self.peft, save_embedding_layers=False)  # "auto" asks a hub
        save_file({name: one.contiguous().cpu() for name, one in weights.items()}, folder / WEIGHTS)
        return ["adapter_config.json", WEIGHTS]

    def facts(self) -> tuple[str, str, int, float]:
        """See `EncoderTraining`."""
        return self.family, self.fingerprint, self._dim(), self.temperature

    def _dim(self) -> int:
        config = self.model.config
        return int(config.projection_dim if self.family == "clip" else config.vision_config.hidden_size)

    def _texts(self) -> torch.Tensor:
        return self._encode_texts() if self.fixed_texts is None else self.fixed_texts

    def _encode_texts(self) -> torch.Tensor:
        """float[C, d]: for each label the mean of its prompts, of unit norm."""
        inputs = {name: one.to(self.device) for name, one in self.tokens.items()}
        vectors = nn.functional.normalize(self.model.get_text_features(**inputs).pooler_output, dim=-1)
        sums = torch.zeros(len(self.labels), vectors.shape[1], device=self.device)
        return nn.functional.normalize(sums.index_add(0, self.owners.to(self.device), vectors), dim=-1)

    def _encode_images(self, pixels: Pixels) -> torch.Tensor:
        batch = torch.from_numpy(pixels).to(self.device)
        return nn.functional.normalize(
            self.model.get_image_features(pixel_values=batch).pooler_output, dim=-1
        )

    def _pixels(self, image: Any) -> Pixels:
        found: Pixels = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(found, np.float32)

    def _image(self, item: Item) -> Any:
        if item.sha256 not in self.images:
            self.images[item.sha256] = self.examples.image(item)
        return self.images[item.sha256]


def _targets(model: nn.Module, wanted: Sequence[str], *, texts: bool) -> list[str]:
    """Full names of the linear layers that end so, in both towers or in the image's alone."""
    found = [
        name
        for name, one in model.named_modules()
        if isinstance(one, nn.Linear) and name.rpartition(".")[2] in wanted and (texts or "vision" in name)
    ]
    if not found:
        raise NotTrainableError(f"The model has no linear layers called {', '.join(wanted)}.")
    return found


def _tokenized(
    tokenizer: Any, sentences: list[str], encoder: type[Any], model: Any
) -> dict[str, torch.Tensor]:
    longest = model.config.text_config.max_position_embeddings
    tokens = tokenizer(
        sentences, padding=encoder._padding, truncation=True, max_length=longest, return_tensors="pt"
    )
    return {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
