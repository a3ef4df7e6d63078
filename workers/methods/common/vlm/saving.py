"""A trained vision-language model's `vision.json` and its card, whichever method trained it."""

from __future__ import annotations

import json
from pathlib import Path

from app.families.loading import VlmFiles
from app.jobs.spec import JobSpec, ModelCard
from workers.methods.common.vlm.items import VlmItems

_NOTE = "vision.json"


def write_card(
    folder: Path,
    spec: JobSpec,
    items: VlmItems,
    base: VlmFiles,
    *,
    family: str,
    adapted: str | None,
    parameters: int,
) -> ModelCard:
    """Write `vision.json` beside the weights in `folder`; the card lists all files there, `vision.json` first.

    `adapted` is `peft` for an adapter over the base, None for a whole model; `parameters` counts the trained numbers.
    """
    card = ModelCard(
        id=spec.model or "",
        kind="vlm",
        family=family,
        task=items.task,
        method=spec.method or "",
        base_model=spec.base_model or base.name,
        base_fingerprint=base.fingerprint,
        labels=items.labels or None,
        files=[],
        parameters=parameters,
    )
    said = card.model_dump(include={"id", "kind", "task", "method", "base_model", "base_fingerprint"})
    note = {"format": 1, **said, "tasks": [items.task], "adapted": adapted, **items.note()}
    (folder / _NOTE).write_text(json.dumps(note, indent=2) + "\n")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {_NOTE}
    card.files = [_NOTE, *sorted(names)]
    return card
