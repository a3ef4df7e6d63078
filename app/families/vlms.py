"""Vision-language models: how a name becomes a model that answers, over a base that others may share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from app.families import files, levels
from app.families.changed import is_adapter
from app.families.loading import VlmFiles, locate_vlm, narrow_tasks
from app.families.table import FAMILIES
from app.families.transformers_vlm import TransformersVlm
from app.inference import device as devices
from app.inference.errors import BaseModelChangedError
from app.inference.optimisation import AUTO
from app.inference.runtimes.notes import machine_key, note_in
from app.inference.shared_bases import BaseKey, share_base
from app.inference.sources import EncoderConfig, EncoderSource, read_json


def resolve_vlm(name: str) -> EncoderSource:
    """The vision-language model that a name means; raises as `Families.resolve` says."""
    return FAMILIES.resolve("vlm", name)


def load_vlm(source: EncoderSource, config: EncoderConfig) -> TransformersVlm:
    """A model ready to answer; blocks for seconds unless its base is in memory already.

    A folder that holds an adapter gives a model over the same weights as its base model and as every other
    adapter of that base. Raises ModelNotFoundError when there are no such weights, ModelUnavailableError when they
    do not load, BaseModelChangedError when the base is not the one that the adapter was trained over.
    """
    adapter = Path(source.location) if is_adapter(source) else None
    base_files = locate_vlm(source if adapter is None else FAMILIES.adapter_source(adapter), config)
    if adapter is not None:
        _check_base(adapter, base_files)
    place = devices.parse(config.device)
    asked = config.level_of(source)

    def at(level: str) -> TransformersVlm:
        dtype = "float32" if level == "none" else place.dtype_name
        vlm = _open_vlm(source.name, base_files, adapter, place, dtype)
        vlm.has_untrusted_files = config.trained_dir in base_files.folder.parents
        vlm.limit_generation(
            max_rows=config.vlm_max_batch, cache_bytes=config.vlm_cache_bytes or place.memory_bytes // 8
        )
        vlm.static_cache = level == "standard"
        return vlm

    if asked == AUTO:
        # Graphs run the kernels that would run anyway: there is nothing to compare before they are used.
        vlm = at("standard" if place.kind == "cuda" else "basic")
        if vlm.static_cache:
            vlm.optimisation = replace(vlm.optimisation, level="standard")
        return vlm
    if place.kind == "cpu":
        vlm = at("none")
        vlm.optimisation = levels.on_cpu(asked)
        return vlm
    trained = "" if adapter is None else files.fingerprint(adapter, config.cache_dir)
    key = machine_key(place.card)
    folder = config.cache_dir / "engines" / f"{base_files.fingerprint}-{key}"
    note = note_in(folder, "vlm-level", f"{trained} {asked} {config.parity_tokens}")
    return levels.climb(at, asked, config.parity_tokens, note)


def _open_vlm(
    name: str, base_files: VlmFiles, adapter: Path | None, place: devices.Device, dtype: str
) -> TransformersVlm:
    base = share_base(
        BaseKey(base_files.fingerprint, place.torch_name, dtype),
        lambda: base_files.model(place.torch_name, getattr(torch, dtype)),
    )
    over = None if adapter is None else base.load(adapter)
    try:
        vlm = base_files.family_class(
            name,
            base.module,
            base_files.processor(),
            torch.device(place.torch_name),
            base=base,
            adapter=over,
        )
        vlm.tasks = base_files.tasks
        if adapter is not None:
            vlm.tasks = narrow_tasks(vlm.tasks, adapter)
    except BaseException:
        if over is not None:
            base.remove(over)
        raise
    return vlm


def _check_base(adapter: Path, base: VlmFiles) -> None:
    """An adapter of this project names its base's fingerprint; one from elsewhere need not."""
    trained_over = (
        read_json(adapter, "vision.json").get("base_fingerprint")
        if (adapter / "vision.json").is_file()
        else None
    )
    if trained_over and trained_over != base.fingerprint:
        raise BaseModelChangedError(
            f"'{adapter.name}' was trained over another version of '{base.name}': train it again."
        )
