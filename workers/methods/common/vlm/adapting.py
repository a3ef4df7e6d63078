"""A vision-language model made ready for LoRA: loaded for training, adapters laid in, everything else frozen."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from app.families.changed import is_adapter
from app.families.hugging_face_encoder import recompute as recompute_activations
from app.families.loading import VlmFiles, locate_vlm
from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import resolve_vlm
from app.inference import device as devices
from app.inference.adapters import CONFIG, WEIGHTS
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.methods.params import AdapterParams
from app.settings import Settings
from workers.methods.common.precision import forward_pass, training_dtype
from workers.methods.common.vlm.kept_images import KeptImages
from workers.methods.common.vlm.lessons import Lessons, lessons_for

RANK, DROPOUT = 16, 0.05


def base_files(base: str, settings: Settings) -> VlmFiles:
    """The files of the model to train; raises NotTrainableError for an adapter, and what `locate_vlm` raises."""
    source = resolve_vlm(base)
    if is_adapter(source):
        raise NotTrainableError(f"'{source.name}' is itself an adapter: train over its base model.")
    return locate_vlm(source, EncoderConfig.from_settings(settings))


class AdaptedVlm:
    """The model in training: `lessons.vlm` answers and learns, `model` is peft's view of the same module."""

    def __init__(
        self,
        base: str,
        params: AdapterParams,
        settings: Settings,
        *,
        recomputing: bool,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Loads for seconds; the base has the number format `dtype`, or left out the device's own.

        Raises NotTrainableError for what cannot be trained, and what loading raises.
        """
        self.files: VlmFiles = base_files(base, settings)
        device = devices.parse(settings.models.device)
        self.device = torch.device(device.torch_name)
        self.dtype = dtype or training_dtype(self.device)
        module = self.files.model(
            device.torch_name, self.dtype, **_options(device, params, self.dtype, self.files.family_class)
        )
        module.requires_grad_(False)
        vlm = self.files.family_class(self.files.name, module, self.files.processor(), self.device)
        self.lessons: Lessons = lessons_for(vlm)
        self.model: PeftModel = _with_lora(module, self.lessons, params)
        if recomputing:
            recompute(module, self.files.name)
        self.images = KeptImages(vlm, params.image_cache_mb << 20)

    @property
    def width(self) -> int:
        """Of the language model's hidden states."""
        return int(self.lessons.vlm.model.config.get_text_config().hidden_size)

    @property
    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name."""
        return {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }

    def parts(self) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """What is trained: the low-rank matrices, and the projector."""
        low_rank = [parameter for name, parameter in self.trained_parameters.items() if "lora_" in name]
        rest = [parameter for name, parameter in self.trained_parameters.items() if "lora_" not in name]
        return low_rank, rest

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of what is trained, on the CPU."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self.trained_parameters.items()}

    def restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put such a copy back; raises ValueError where it is of another shape of training."""
        trained = self.trained_parameters
        if trained.keys() != weights.keys():
            raise ValueError("the checkpoint holds other weights than those that are trained")
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(weights[name])

    def number_format(self) -> AbstractContextManager[Any]:
        """Around every forward pass: the base may compute in bfloat16 while what is trained stays float32."""
        return forward_pass(self.device, self.dtype)

    def without(self) -> AbstractContextManager[Any]:
        """While it lasts, the model answers as its base does."""
        context: AbstractContextManager[Any] = self.model.disable_adapter()
        return context

    def save(self, folder: Path, base: str) -> None:
        """Write the adapter in peft's format, with the base by the word that the service knows it by."""
        config = self.model.peft_config["default"]
        config.base_model_name_or_path, config.inference_mode = base, True
        config.save_pretrained(str(folder))
        # with this set peft does not ask the hub about the embeddings of the base
        weights = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        save_file({name: weight.contiguous().cpu() for name, weight in weights.items()}, folder / WEIGHTS)
        if not (folder / CONFIG).is_file():
            raise OSError(f"peft wrote no {CONFIG}")


def default_attention(device: devices.Device) -> str | None:
    """Which attention computes where nobody chose one; None leaves it to transformers, which takes torch's fused one:
    flash attention where the device has it. Its backward pass is slow on CPUs.
    """
    return "eager" if device.kind == "cpu" else None


def _options(
    device: devices.Device, params: AdapterParams, dtype: torch.dtype, family: type[TransformersVlm]
) -> dict[str, Any]:
    """How transformers shall load the base."""
    attention = default_attention(device) if params.attention == "auto" else params.attention
    options = {} if attention is None else {"attn_implementation": attention}
    if params.four_bit:
        if device.kind != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
            raise NotTrainableError(
                "A base in 4 bits needs a CUDA device and the package bitsandbytes, which this worker lacks: "
                "leave `four_bit` out."
            )
        from transformers import BitsAndBytesConfig

        config_class: Any = BitsAndBytesConfig
        quantised = config_class(  # QLoRA (Dettmers et al. 2023)
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            # what is trained whole cannot be in 4 bits, and the tower is small
            llm_int8_skip_modules=["lm_head", *(part for part in (family.projector, family.tower) if part)],
        )
        return {**options, "quantization_config": quantised, "device_map": {"": device.torch_name}}
    return options


def _with_lora(module: Any, lessons: Lessons, params: AdapterParams) -> PeftModel:
    names = _linear_layers(module, lessons, params.targets)
    projector = lessons.vlm.projector if params.train_projector else None
    if projector is not None and not _has(module, projector):
        projector = None
    rank = params.rank or RANK
    config = LoraConfig(
        r=rank,
        lora_alpha=params.alpha or 2 * rank,  # type: ignore[arg-type]  # peft only multiplies with it
        lora_dropout=DROPOUT if params.dropout is None else params.dropout,
        target_modules=names,
        modules_to_save=None if projector is None else [projector],
    )
    adapted = get_peft_model(module, config)
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()  # steps as small as AdamW's vanish in bfloat16
        if parameter.requires_grad and not re.search(r"lora_|modules_to_save", name):
            raise RuntimeError(f"{name} would be trained")
    return adapted


def _linear_layers(module: Any, lessons: Lessons, wanted: list[str] | None) -> list[str]:
    """Paths of the language model's linear layers, or of those whose last names are wanted."""
    inside = tuple(f"{path}." for path in lessons.vlm.language_parts)
    linear = [
        path
        for path, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear) and path.startswith(inside)
    ]
    if not wanted:
        return linear
    known = {path.rpartition(".")[2] for path in linear}
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise NotTrainableError(
            f"The language model has no linear layers named {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    return [path for path in linear if path.rpartition(".")[2] in wanted]


def _has(module: torch.nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def recompute(module: Any, name: str) -> None:
    """Have the model recompute activations; raises NotTrainableError for one that cannot."""
    if not module.supports_gradient_checkpointing:
        raise NotTrainableError(f"'{name}' cannot recompute activations: leave `gradient_checkpointing` out.")
    recompute_activations(module, {"use_reentrant": False})
