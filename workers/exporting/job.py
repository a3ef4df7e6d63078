"""An export job: a model as ONNX graphs that passed the parity gate, or as merged safetensors, with its card."""

from __future__ import annotations

import json
import shutil
from typing import Any

from app.jobs.spec import Outcome
from workers.exporting import cards
from workers.shared.model_files import model_files
from workers.shared.run import JobRun


def export(run: JobRun) -> Outcome:
    """The files, published among the model's artefacts below `exports/<format>/`.

    Raises NotTrainableError where a graph does not compute what the model does, ModelTaskError for a family that
    cannot be written so.
    """
    found = model_files(run)
    format_ = str(run.spec.params["format"])
    folder = run.scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # a writer's libraries take seconds to import: only those of the one that is needed
    report: dict[str, Any]
    if format_ == "safetensors":
        from workers.exporting import weights

        report = weights.write(found, folder, run.settings)
    elif run.spec.base_kind == "vlm":
        from workers.exporting import vlm_export

        report = vlm_export.write(run, found, folder)
    else:
        from workers.exporting import encoder_export

        report = encoder_export.write(run, found, folder)
    cards.write(folder, found, run.spec.model or "", report)
    (folder / "export.json").write_text(json.dumps(report, indent=2) + "\n")
    run.phase("saving")
    kept = run.publish(folder)
    for file in kept:
        file.name = f"exports/{format_}/{file.name}"
    model = None if found.card is None else found.card.id
    return Outcome(model=model, artifacts=kept, result={"export": report})
