"""What `vision train` makes of its words: parameters, folders of examples, and a folder for the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import example_folder, saving
from app.cli.client import Service
from app.cli.options import parse_params
from tests.scripted import Scripted, serving

server = pytest.fixture(serving)


def test_parameters_are_json_or_text() -> None:
    given = [
        "steps=20",
        "learning_rate=1e-3",
        "loss=triplet",
        "augment=false",
        "lora.rank=4",
        'targets=["q"]',
    ]
    assert parse_params(given) == {
        "steps": 20,
        "learning_rate": 1e-3,
        "loss": "triplet",
        "augment": False,
        "lora": {"rank": 4},
        "targets": ["q"],
    }
    for wrong in ("steps", "=3", "a..b=1"):
        with pytest.raises(typer.BadParameter):
            parse_params([wrong])
    with pytest.raises(typer.BadParameter):
        parse_params(["lora=1", "lora.rank=2"])


def test_a_folder_of_folders_is_labels(tmp_path: Path) -> None:
    for label in ("mug", "plate"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"")
    assert [(example.label, example.image.name) for example in example_folder.read(tmp_path)] == [
        ("mug", "1.png"),
        ("plate", "1.png"),
    ]


def test_lines_name_images_and_what_they_teach(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    rows: list[dict[str, Any]] = [
        {"image": "a.png", "question": "What is it?", "answer": "a mug"},
        {"image": "a.png", "caption": "a mug on a table"},
        {"image": "a.png", "label": "mug"},
    ]
    lines = tmp_path / example_folder.LINES
    lines.write_text("\n".join(map(json.dumps, rows)))
    asked, described, labelled = example_folder.read(tmp_path)
    assert (asked.question, asked.answer, asked.label) == ("What is it?", "a mug", None)
    assert (described.question, described.answer) == (example_folder.DESCRIBE, "a mug on a table")
    assert labelled.label == "mug"
    for wrong in ('{"image": "b.png", "label": "x"}', '{"image": "a.png"}', "[1]", "no json", ""):
        lines.write_text(wrong)
        with pytest.raises(typer.BadParameter):
            example_folder.read(tmp_path)


def test_a_folder_names_a_collection(tmp_path: Path) -> None:
    assert example_folder.name_collection(tmp_path / "Few Shot_Examples!") == "few-shot_examples"
    assert example_folder.name_collection(tmp_path / "__") == "examples"


def listing(files: dict[str, bytes], **changed: str) -> bytes:
    rows = [
        {
            "name": name,
            "url": f"/files/{name}",
            "size": len(data),
            "sha256": changed.get(name, hashlib.sha256(data).hexdigest()),
        }
        for name, data in files.items()
    ]
    return json.dumps({"data": rows}).encode()


def test_a_saved_model_goes_by_the_name_it_got(server: Scripted, tmp_path: Path) -> None:
    """Two jobs that wish for one name publish two models."""
    service, job, folder = Service(server.url, None), {"id": "j1", "model": "mugs-2"}, tmp_path / "model"
    files = {"vision.json": b'{"id": "mugs", "kind": "classifier"}'}
    server.answers = [(200, {}, listing(files)), *[(200, {}, data) for data in files.values()]]
    saving.save_artifacts(service, job, folder, force=False)
    assert json.loads((folder / "vision.json").read_text()) == {"id": "mugs-2", "kind": "classifier"}
    service.close()


def test_a_model_is_saved_whole_or_not_at_all(server: Scripted, tmp_path: Path) -> None:
    service, job, folder = Service(server.url, None), {"id": "j1"}, tmp_path / "out" / "model"
    files = {"vision.json": b"{}", "lora/adapter.bin": b"12345"}
    server.answers = [(200, {}, listing(files)), *[(200, {}, data) for data in files.values()]]
    saving.save_artifacts(service, job, folder, force=False)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files
    # a second model needs force, and takes the place of all that was there
    with pytest.raises(typer.Exit):
        saving.check_free(folder, force=False)
    server.answers = [(200, {}, listing({"new.bin": b"n"})), (200, {}, b"n")]
    saving.save_artifacts(service, job, folder, force=True)
    assert [path.name for path in folder.iterdir()] == ["new.bin"]
    # damage, or a name that leads elsewhere, leaves everything as it was
    for rows in (listing({"a": b"a"}, a="0" * 64), listing({"../a": b"a"})):
        server.answers = [(200, {}, rows), (200, {}, b"a")]
        with pytest.raises(typer.Exit) as ended:
            saving.save_artifacts(service, job, folder, force=True)
        assert ended.value.exit_code == 1
    assert [path.name for path in folder.iterdir()] == ["new.bin"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    service.close()
