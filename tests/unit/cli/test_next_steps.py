"""What the command line says beside its tables: flags in the service's sentences, and the commands that come next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.cli import app, next_steps, saving
from app.cli.dataset_folders import find_training_source
from app.cli.next_steps import TrainingSource, after_training
from app.cli.session import Session
from app.cli.wording import in_flags
from tests.scripted import Scripted, serving

server = pytest.fixture(serving)
TRAINING = Path(__file__).resolve().parents[3] / "app" / "training"
NOWHERE = "http://127.0.0.1:1"
JOB = {"task": "classification", "params": {}, "collection": None, "dataset": None}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (
            "teach more with POST /v1/collections/my.mugs/examples.",
            "teach more with `vision oneshot learn -c my.mugs`.",
        ),
        (
            "add some with POST /v1/collections/mugs/answers, or `vision fewshot add-example`.",
            "add some with `vision fewshot add-example -c mugs`.",
        ),
        ("(GET /v1/strategies).", "(`vision strategies list`)."),
        ("params.lora.rank: it must be more", "--param lora.rank: it must be more"),
        ("metrics.0: it must be 'f1'.", "--metric: it must be 'f1'."),
        ("learning_type: it must be", "--learning-type: it must be"),
        ("hardware: there is no machine of that name", "--hardware: there is no machine of that name"),
        ("dataset.format: it must be", "dataset.format: it must be"),
        ("config.training_args.num_epochs: it must be", "--epochs: it must be"),
    ],
)
def test_a_sentence_of_the_service_names_commands_and_flags(said: str, read: str) -> None:
    assert in_flags(said) == read


def test_no_refusal_of_a_training_speaks_of_http_to_a_command_line() -> None:
    calls = set()
    for file in TRAINING.glob("*.py"):
        text = (
            file.read_text().replace("{data.slug}", "mugs").replace("{row.id}", "0a").replace("{place}", "")
        )
        calls |= set(re.findall(r"(?<!`)(?:GET|POST|PATCH|PUT|DELETE) /v1/[a-z/0-9]+", text))
    assert len(calls) > 5
    spoken = {call for call in calls if "/v1/" in in_flags(call)}
    # said of folders in a configuration, which the command line sends itself
    assert spoken <= {"POST /v1/models"}, spoken


def read_commands(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Next:"
    return [shlex.split(line) for line in lines[1:] if line.startswith("  ")]


def test_the_next_commands_can_be_pasted(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "my pictures" / "mug"
    pictures.mkdir(parents=True)
    (pictures / "a mug.png").write_bytes(b"")
    session = Session(server.url)
    folder = Path("my model")
    after_training(session, JOB, "mugs", folder, TrainingSource(tmp_path / "my pictures"))
    classify, export = read_commands(capsys)
    assert classify[:3] == ["vision", "oneshot", "classify"]
    assert classify[-5:-2] == [str(pictures / "a mug.png"), "--model", "./my model"]
    assert export[:3] == ["vision", "manyshot", "export"]
    assert all(words[-2:] == ["--server", server.url] for words in (classify, export))
    asking = {**JOB, "params": {"question": "Which mug?"}}
    after_training(session, asking, "mugs", None, TrainingSource(pictures))
    ask, _ = read_commands(capsys)
    assert ask == [
        *("vision", "ask", "--image", str(pictures / "a mug.png"), "--model", "mugs", "Which mug?"),
        *("--server", server.url),
    ]
    after_training(session, {**JOB, "task": "caption"}, "mugs", None, TrainingSource(pictures))
    assert read_commands(capsys)[0][1] == "caption"


def test_where_the_head_is_as_good_its_commands_come_first(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(server.url)

    def list_commands(**job: object) -> list[list[str]]:
        compared = {"use": "head", "encoder": "clip-tiny"} | dict(job.pop("comparison", {}))  # type: ignore[call-overload]
        after_training(
            session, {**JOB, **job, "result": {"comparison": compared}}, "mugs.v2", None, TrainingSource()
        )
        lines = capsys.readouterr().err.splitlines()
        assert lines.count("Next:") == 1
        assert lines[0] in ("By the closed-form head:", "Next:")
        commands = lines[1 : lines.index("Next:")] or lines[1:]
        return [shlex.split(line)[1:-2] for line in commands]

    answering = ["oneshot", "classify", "--image", "picture.jpg", "--collection"]
    assert list_commands(collection="cups")[0] == [*answering, "cups"]
    server.answers = [(200, {"Content-Type": "application/json"}, b'{"summary": {"splits": {}}}')]
    assert list_commands(dataset="0a-id")[:3] == [
        ["collections", "create", "mugs-v2-head", "--encoder", "clip-tiny"],
        ["datasets", "teach", "0a-id", "--collection", "mugs-v2-head"],
        [*answering, "mugs-v2-head"],
    ]
    assert "--model" in list_commands(collection="cups", comparison={"use": "trained"})[0]
    assert "--model" in list_commands(collection="cups", method="head")[0]


def test_a_picture_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session("http://127.0.0.1:1")
    after_training(session, JOB, "mugs", None, TrainingSource())
    assert "picture.jpg stands for" in capsys.readouterr().err
    (tmp_path / "there.jpg").write_bytes(b"")
    # whatever lies in the current folder has nothing to do with what was taught
    assert next_steps.picture_near(None) == next_steps.picture_near(Path("nowhere")) == "picture.jpg"
    assert next_steps.picture_near(Path("there.jpg")) == "there.jpg"
    assert next_steps.picture_near(Path()) == "./there.jpg"
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "dataset.json").write_text(json.dumps({"id": "1", "sent_from": str(tmp_path)}))
    assert find_training_source("prepared") == TrainingSource(tmp_path, "prepared")
    assert find_training_source("0a-id") == TrainingSource()


def test_flags_are_repeated_where_the_environment_does_not_lead_there(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(server.url, "secret")
    assert session.flags == ["--server", server.url, "--api-key", "KEY"]
    monkeypatch.setenv("VISION_SERVER", server.url)
    monkeypatch.setenv("VISION_API_KEY", "secret")
    assert session.flags == []


def test_a_full_folder_is_replaced_by_force_or_by_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not saving.may_replace(tmp_path / "new", force=False)
    (tmp_path / "there").write_text("mine")
    assert saving.may_replace(tmp_path, force=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(typer.Exit):
        saving.may_replace(tmp_path, force=False)
    assert "--force" in capsys.readouterr().err
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *words, abort, err: True)
    assert saving.may_replace(tmp_path, force=False)


def test_where_a_dataset_is_noted_is_looked_at_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "data" / "mug").mkdir(parents=True)
    (tmp_path / "data" / "mug" / "a.png").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    words = ["manyshot", "prepare-dataset", "--data-dir", str(tmp_path / "data"), "--server", NOWHERE]
    for place, says in (
        ("full", "--force writes into it"),
        ("full/file", "not a folder"),
        ("full/file/in", "no folder to write to"),
    ):
        done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / place)])
        assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
    for forced in (["--output", str(tmp_path / "full"), "--force"], ["--output", str(tmp_path / "new")]):
        done = CliRunner().invoke(app, [*words, *forced])
        assert done.exit_code == 3, done.stderr  # it got as far as the service, which is not there
    assert (tmp_path / "full" / "file").read_text() == "mine"
