"""A trained model's folder on its way to a service: what of it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Service
from app.cli.model_folders import upload


def test_what_was_made_of_a_model_is_not_sent_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service refuses such files, and downloading a model brings them."""

    def keep(_: Service, path: str, folder: Path, files: list[Path], *__: Any, **___: str) -> dict[str, Any]:
        return {"id": path, "files": sorted(str(file.relative_to(folder)) for file in files)}

    monkeypatch.setattr(Service, "upload", keep)
    for name in (
        "vision.json",
        "head/model.safetensors",
        "exports/onnx/classifier.onnx",
        "evaluations/1/a.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"id": "mugs"}))
    sent = upload(Service("http://127.0.0.1:1", None), tmp_path)
    assert sent == {"id": "/v1/models", "files": ["head/model.safetensors", "vision.json"]}
