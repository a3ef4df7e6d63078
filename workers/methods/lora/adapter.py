"""LoRA in an encoder, trained on labelled images: against the labels' texts, or with a linear head.

After CLIP-LoRA (Zanella and Ben Ayed 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from app.collections.texts import prompts
from app.inference.adapters import WEIGHTS
from app.inference.protocols import Pixels, Vectors
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.media.augmentation import augment
from workers.methods.common.encoder_training import EncoderTraining
from workers.methods.common.starting import fit_plain_head
from workers.shared.examples import Item

RANK, DROPOUT = 2, 0.25
MAX_TRAINED_TEXTS = 64
"""Labels up to which texts are encoded anew in every step; beyond, the text tower stays as it is and its vectors are
computed once."""
_BATCH = 16
_LARGE = 20_000_000
"""Numbers in a model from which more than one thread pays."""
_STEPS_A_SHOT, _MAX_STEPS = 500, 300


class AdapterTraining(EncoderTraining):
    """See `workers.shared.method.TrainingMethod`; a subclass says what images are compared with."""

    adapted = "peft"
    rate = 2e-4

    def build(self) -> None:
        """The whole model in float32, adapters on its attention, everything else frozen."""
        run, params = self.run, self.params
        config = EncoderConfig.from_settings(run.settings)
        self.base = self.encoder = self.family.adaptable(self.source, config)
        model = self.encoder.module
        self.one_thread = sum(parameter.numel() for parameter in model.parameters()) < _LARGE
        if params.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        rank = params.rank or RANK
        lora = LoraConfig(
            r=rank,
            lora_alpha=params.alpha or rank,  # type: ignore[arg-type]  # peft takes any number
            lora_dropout=DROPOUT if params.dropout is None else params.dropout,
            target_modules=_targets(
                model, params.targets or self.family.attention_layers, self.changed_part()
            ),
        )
        self.peft = get_peft_model(model, lora).to(self.device)
        self.steps = min(_STEPS_A_SHOT * max(len(self.train) // len(self.labels), 1), _MAX_STEPS)
        self.images: dict[str, Any] = {}
        self.lay_out()
        self.untouched = self.current()

    def changed_part(self) -> str:
        """Part of the names of the layers that are changed; empty: all."""
        return ""

    def lay_out(self) -> None:
        """What images are compared with."""
        raise NotImplementedError

    def restart(self) -> None:
        self.put(self.untouched)

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The low-rank matrices."""
        return {
            name: parameter for name, parameter in self.peft.named_parameters() if parameter.requires_grad
        }

    def draw_views(self, rows: NDArray[Any]) -> torch.Tensor:
        """Unit vectors float[b, d] of rows of the training examples, each shown as one of its changed copies."""
        self.peft.train()
        settings = self.params.changes()
        pixels = []
        for row in rows:
            image = self._image(self.train[int(row)])
            if self.params.augment:
                image = augment(image, self.rng, settings)
            pixels.append(self.encoder.preprocess(image))
        return self._encode_images(np.stack(pixels))

    def features_of(self, items: Sequence[Item]) -> Vectors:
        self.peft.eval()
        parts = [np.zeros((0, self.encoder.dim), np.float32)]
        with torch.no_grad():
            for start in range(0, len(items), _BATCH):
                part = items[start : start + _BATCH]
                pixels = np.stack([self.encoder.preprocess(self._image(item)) for item in part])
                parts.append(self._encode_images(pixels).cpu().numpy())
        return np.concatenate(parts)

    def write(self, folder: Path) -> list[str]:
        """The adapter in peft's format."""
        config = self.peft.peft_config["default"]
        config.base_model_name_or_path, config.inference_mode = self.word, True
        config.save_pretrained(str(folder))
        weights = get_peft_model_state_dict(self.peft, save_embedding_layers=False)  # "auto" asks a hub
        save_file({name: weight.contiguous().cpu() for name, weight in weights.items()}, folder / WEIGHTS)
        return ["adapter_config.json", WEIGHTS]

    def _encode_images(self, pixels: Pixels) -> torch.Tensor:
        batch = torch.from_numpy(pixels).to(self.device)
        return nn.functional.normalize(self.encoder.image_features(batch), dim=-1)

    def _image(self, item: Item) -> Any:
        if item.sha256 not in self.images:
            self.images[item.sha256] = self.examples.image(item)
        return self.images[item.sha256]


class TextLora(AdapterTraining):
    """The labels' texts are the classifier, as in CLIP-LoRA: adapters lie in both towers."""

    def changed_part(self) -> str:
        """See `AdapterTraining`: the image tower alone where there are many labels."""
        return "" if len(self.labels) <= MAX_TRAINED_TEXTS else self.encoder.image_part

    def lay_out(self) -> None:
        """The labels' prompts."""
        sentences = [prompts(label, self.examples.descriptions.get(label, "")) for label in self.labels]
        tokenize = cast(Callable[[list[str]], dict[str, torch.Tensor]], self.encoder.tokenize)
        self.tokens = tokenize([sentence for several in sentences for sentence in several])
        self.owners = torch.tensor([i for i, several in enumerate(sentences) for _ in several])
        with_texts = len(self.labels) <= MAX_TRAINED_TEXTS
        self.fixed_texts = None if with_texts else self._encode_texts().detach()
        if not with_texts:
            self.run.log(f"More than {MAX_TRAINED_TEXTS} labels: the text tower stays as it is.")

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        """See `EncoderTraining`: temperature times cosines of images and label texts."""
        images = self.draw_views(rows)
        logits: torch.Tensor = self.encoder.temperature * images @ self._texts().T
        return logits

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        """See `EncoderTraining`: the labels' texts are the classifier."""
        self.peft.eval()
        with torch.no_grad():
            texts: Vectors = self._texts().cpu().numpy()
        rows = (self.encoder.temperature * texts).astype(np.float32)
        return rows, np.zeros(len(texts), np.float32), texts

    def _texts(self) -> torch.Tensor:
        return self._encode_texts() if self.fixed_texts is None else self.fixed_texts

    def _encode_texts(self) -> torch.Tensor:
        """float[C, d]: for each label the mean of its prompts, of unit norm."""
        inputs = {name: tensor.to(self.device) for name, tensor in self.tokens.items()}
        features = cast(Callable[[dict[str, torch.Tensor]], torch.Tensor], self.encoder.text_features)
        vectors = nn.functional.normalize(features(inputs), dim=-1)
        sums = torch.zeros(len(self.labels), vectors.shape[1], device=self.device)
        return nn.functional.normalize(sums.index_add(0, self.owners.to(self.device), vectors), dim=-1)


class ImageLora(AdapterTraining):
    """For an encoder that reads images only: a linear layer, first the closed-form head, learns with the adapters."""

    def lay_out(self) -> None:
        """A linear layer that says what the closed-form head says."""
        taught = self.features_of(self.train)
        self.linear = self.start_linear(fit_plain_head(taught, self.y, self.labels, self.priors), taught)

    def restart(self) -> None:
        """See `EncoderTraining`: the head is of all examples now."""
        super().restart()
        self.lay_out()

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Adapters and head."""
        head = {f"head.{name}": tensor for name, tensor in self.linear.named_parameters()}
        return super().trained_parameters() | head

    def batch_logits(self, rows: NDArray[Any]) -> torch.Tensor:
        logits: torch.Tensor = self.linear_scale * self.linear(self.draw_views(rows))
        return logits

    def head(self) -> tuple[Vectors, Vectors, Vectors | None]:
        return *self.linear_rows(self.linear), None


def _targets(model: nn.Module, wanted: Sequence[str], part: str) -> list[str]:
    """Full names of the linear layers that end so, of those whose names hold `part`."""
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in wanted and part in name
    ]
    if not found:
        raise NotTrainableError(f"The model has no linear layers called {', '.join(wanted)}.")
    return found
