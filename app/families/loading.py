"""The files of a vision-language model become a processor, a torch module and the class of its family."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from app.families import files
from app.families.table import FAMILIES
from app.families.transformers_spec import TransformersVlmSpec
from app.families.transformers_vlm import TransformersVlm
from app.families.weights import load_whole
from app.inference.errors import ModelUnavailableError
from app.inference.prompts import Task
from app.inference.sources import EncoderConfig, EncoderSource, read_json


@dataclass(frozen=True)
class VlmFiles:
    """A whole model (no adapter) in a local folder, not loaded yet."""

    name: str
    folder: Path
    family_class: type[TransformersVlm]
    architecture: str
    fingerprint: str
    """Of everything in the folder that decides what the model says (`app.families.files.fingerprint`)."""

    @property
    def tasks(self) -> frozenset[Task]:
        """What its class can do, without what `vision.json` leaves out."""
        return narrow_tasks(self.family_class.tasks, self.folder)

    def processor(self) -> Any:
        """Tokenizer and image processor; raises ModelUnavailableError."""
        load_processor: Any = transformers.AutoProcessor.from_pretrained
        with files.loading(self.name), quiet():
            return load_processor(self.folder, local_files_only=True, backend="pil")

    def model(self, device: str, dtype: torch.dtype, **options: Any) -> Any:
        """The weights on a torch device; `options` go to transformers. Raises ModelUnavailableError."""
        with files.loading(self.name), quiet():
            model = load_whole(self.architecture, self.folder, f"'{self.name}'", dtype, **options)
            # weights in 4 bits are put where they belong while they are read, and cannot be moved
            return model if "quantization_config" in options else model.to(device)


def narrow_tasks(tasks: frozenset[Task], folder: Path) -> frozenset[Task]:
    """Those of `tasks` that the `vision.json` of the folder does not leave out."""
    declared = FAMILIES.tasks_in(folder)
    return tasks if declared is None else tasks & declared


def locate_vlm(source: EncoderSource, config: EncoderConfig) -> VlmFiles:
    """The files of a whole model, fetched where downloads are allowed.

    Raises ModelNotFoundError when there are no such weights, ModelUnavailableError for what is not served.
    """
    located = FAMILIES.locate("vlm", source, config)
    folder = Path(located.location)
    architecture = next(iter(read_json(folder, "config.json").get("architectures") or [""]))
    family = FAMILIES.get(located.family)
    if not isinstance(family, TransformersVlmSpec) or architecture not in family.classes:
        raise ModelUnavailableError(
            f"'{source.name}' has the architecture '{architecture}', which is not served."
        )
    fingerprint = files.fingerprint(folder, config.cache_dir)
    return VlmFiles(source.name, folder, family.vlm_class(architecture), architecture, fingerprint)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' notes on attention of sub-models, which no operator can act on."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
