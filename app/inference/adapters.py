"""LoRA adapters in peft's format: read from files with nothing trusted, laid over a module, selected, taken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.inference.adapter_config import SHAPE, check_config, check_weights
from app.inference.errors import ModelUnavailableError
from app.inference.memory import is_out_of_memory

_MISFITS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError)
"""What peft raises for weights that do not fit."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def read(folder: Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """The adapter in `folder`, on the CPU; raises ModelUnavailableError in one sentence.

    Only what `check_config` accepts is handed to peft.
    """
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        missing = Path(error.filename or WEIGHTS).name
        raise ModelUnavailableError(
            f"The adapter '{folder.name}' has no {missing}; weights in other formats are not loaded."
        ) from None
    except (OSError, ValueError, SafetensorError):
        raise ModelUnavailableError(f"The files of the adapter '{folder.name}' cannot be read.") from None
    check_config(found, folder.name)
    check_weights(found, {key: tensor.shape for key, tensor in weights.items()}, folder.name)
    try:
        config = LoraConfig(
            **{key: found[key] for key in SHAPE if found.get(key) is not None},
            inference_mode=True,
            init_lora_weights=False,
        )
    except (TypeError, ValueError) as error:
        raise ModelUnavailableError(
            f"The {CONFIG} of '{folder.name}' is damaged.", cause=str(error)
        ) from None
    return config, weights


class Overlay:
    """The adapters that lie over one module, by name. Changes the module in place; not safe among threads."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self._peft: Any = None

    def add(self, name: str, folder: Path) -> None:
        """Lay the adapter in `folder` over the module; nothing is selected afterwards.

        Raises ModelUnavailableError where it cannot be read or does not fit, with the module as before.
        """
        config, weights = read(folder)
        try:
            self._lay(name, config)
            self._fill(name, weights)
            self.select(None)
        except BaseException as error:
            self.remove(name)
            if is_out_of_memory(error) or not isinstance(error, _MISFITS):
                raise
            raise ModelUnavailableError(
                f"The adapter '{folder.name}' does not fit its base model.", cause=str(error)
            ) from error

    def select(self, name: str | None) -> None:
        """Let adapter `name` take part in the forward pass and no other; None: the bare base, exactly."""
        for module in self.module.modules():
            if isinstance(module, ModulesToSaveWrapper):
                # one that another adapter trained, but not this one, is the base's own
                active = [name] if name is not None and name in module.modules_to_save else []
                module.set_adapter(active, inference_mode=True)
                module.enable_adapters(bool(active))
            elif isinstance(module, BaseTunerLayer):
                module.enable_adapters(name is not None)
                module.set_adapter([] if name is None else [name], inference_mode=True)
        self.module.requires_grad_(False)  # enabling switches gradients on

    def remove(self, name: str) -> None:
        """Free one adapter; with the last one, peft's wrappers go and the base's layers are back in their places."""
        others = [] if self._peft is None else [other for other in self._peft.peft_config if other != name]
        if not others:
            _take_off(self.module)
            self._peft = None
            return
        self.select(None)
        for module in self.module.modules():
            if isinstance(module, ModulesToSaveWrapper):
                module.delete_adapter(name, new_active_adapters=None)
            elif isinstance(module, BaseTunerLayer):
                module.delete_adapter(name)
        self._peft.peft_config.pop(name, None)
        # what peft looks up when the next one is added; `select` decides what takes part
        self._peft.active_adapter = self._peft.base_model.active_adapter = others[0]

    def _lay(self, name: str, config: LoraConfig) -> None:
        # without `autocast`, adapters of a base in half precision stay in it, as the rest of serving
        if self._peft is None:
            self._peft = PeftModel(self.module, config, adapter_name=name, autocast_adapter_dtype=False)
        else:
            self._peft.add_adapter(name, config, autocast_adapter_dtype=False)
        self.module.eval()

    def _fill(self, name: str, weights: dict[str, torch.Tensor]) -> None:
        result: Any = set_peft_model_state_dict(self._peft, weights, adapter_name=name)
        missing = [key for key in result.missing_keys if f".{name}." in key]
        if missing or result.unexpected_keys:
            raise ValueError(f"missing {missing[:3]}, unexpected {list(result.unexpected_keys)[:3]}")


def _take_off(module: torch.nn.Module) -> None:
    """Take every wrapper of peft out, half-laid adapters included."""
    wrapped = [
        (path, layer)
        for path, layer in module.named_modules()
        if isinstance(layer, BaseTunerLayer | ModulesToSaveWrapper)
    ]
    for path, layer in reversed(wrapped):  # what lies inside a wrapper before the wrapper itself
        parent, _, child = path.rpartition(".")
        inner = layer.original_module if isinstance(layer, ModulesToSaveWrapper) else layer.get_base_layer()
        setattr(module.get_submodule(parent), child, inner)
    if hasattr(module, "peft_config"):
        del module.peft_config
