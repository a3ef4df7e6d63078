"""A trained model's folder on its way to a service: what of it is sent."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Service
from app.cli.model_folders import upload


def test_what_was_made_of_a_model_is_not_sent_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service refuses such files, and downloading a model brings them."""
    sent = io.BytesIO()

    def keep(_: Service, method: str, path: str, *, content: Iterable[bytes], **__: Any) -> dict[str, Any]:
        sent.writelines(content)
        return {"id": f"{method} {path}"}

    monkeypatch.setattr(Service, "call", keep)
    for name in (
        "vision.json",
        "head/model.safetensors",
        "exports/onnx/classifier.onnx",
        "evaluations/1/a.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"id": "mugs"}))
    assert upload(Service("http://127.0.0.1:1", None), tmp_path) == {"id": "POST /v1/models"}
    sent.seek(0)
    with tarfile.open(fileobj=sent) as archive:
        assert sorted(archive.getnames()) == ["head/model.safetensors", "vision.json"]
