"""Vision-language models: which families exist and how a name becomes a loaded model.

Knows the families and nothing of their prompts; knows nothing of requests, batches or budgets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from app.errors import ModelUnavailableError
from app.inference import device as devices
from app.inference.encoders import files
from app.inference.encoders.source import EncoderConfig, EncoderSource
from app.inference.vlms.blip import BlipCaption, BlipVqa
from app.inference.vlms.flamingo import Idefics3Vlm, IdeficsVlm
from app.inference.vlms.llava import LlavaVlm
from app.inference.vlms.source import (
    ADAPTER,
    adapter_base,
    declared_tasks,
    read_json,
    resolve_vlm,
    vlm_family_in,
)
from app.inference.vlms.transformers_vlm import TransformersVlm

CLASSES: dict[str, tuple[type[TransformersVlm], str]] = {
    "LlavaForConditionalGeneration": (LlavaVlm, "LlavaForConditionalGeneration"),
    "BlipForQuestionAnswering": (BlipVqa, "BlipForQuestionAnswering"),
    "BlipForConditionalGeneration": (BlipCaption, "BlipForConditionalGeneration"),
    "IdeficsForVisionText2Text": (IdeficsVlm, "IdeficsForVisionText2Text"),
    "Idefics3ForConditionalGeneration": (Idefics3Vlm, "Idefics3ForConditionalGeneration"),
    "SmolVLMForConditionalGeneration": (Idefics3Vlm, "SmolVLMForConditionalGeneration"),
}
"""Architecture in `config.json` -> our class and transformers'; a new family is one file and a line here."""

__all__ = ["CLASSES", "load_vlm", "resolve_vlm"]


def load_vlm(source: EncoderSource, config: EncoderConfig) -> TransformersVlm:
    """Load weights, and an adapter over them where the folder holds one; blocks for seconds.

    Raises ModelNotFoundError when there are no such weights, ModelUnavailableError when they do not load.
    """
    adapter = None
    folder = Path(source.location)
    if source.is_local and (folder / ADAPTER).is_file():
        adapter, base = folder, resolve_vlm(adapter_base(folder))
    else:
        base = source
    located = files.located(base, config, vlm_family_in)
    folder = Path(located.location)
    architecture = next(iter(read_json(folder, "config.json").get("architectures") or [""]))
    if architecture not in CLASSES:
        raise ModelUnavailableError(
            f"'{source.name}' has the architecture '{architecture}', which is not served."
        )
    ours, theirs = CLASSES[architecture]
    device = devices.parse(config.device)
    with files.loading(source.name), _quiet():
        load_processor: Any = transformers.AutoProcessor.from_pretrained
        processor = load_processor(folder, local_files_only=True, backend="pil")
        model, report = getattr(transformers, theirs).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, device.dtype_name),
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise ModelUnavailableError(f"The weights of '{source.name}' are incomplete.")
        if adapter is not None:
            model = _with_adapter(model, adapter)
        model = model.to(device.torch_name).eval().requires_grad_(False)
    vlm = ours(source.name, model, processor, torch.device(device.torch_name))
    tasks = declared_tasks(adapter or folder)
    if tasks is not None:
        vlm.tasks = vlm.tasks & tasks
    return vlm


def _with_adapter(model: Any, folder: Path) -> Any:
    """The model with a LoRA adapter folded in: served answers cost what the base's cost."""
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelUnavailableError(
            f"The adapter '{folder.name}' has no weights in safetensors; other formats are not loaded."
        )
    return PeftModel.from_pretrained(model, folder, is_trainable=False).merge_and_unload()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notes on attention of sub-models, which no operator can act on."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
