"""What every command that asks a service shares: its options, where it finds the service, what it prints and how it
ends. The commands are the real ones; the service is a real HTTP server that answers from a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main
from typer.testing import CliRunner, Result

from app.cli import app
from tests.scripted import Scripted, serving

server = pytest.fixture(serving)

COLLECTION = {"name": "mugs", "encoder": "lite", "labels": 2, "examples": None}


def vision(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def commands(command: object, *names: str) -> Iterator[tuple[str, set[str]]]:
    if isinstance(command, typer.core.TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, *names, name)
    elif isinstance(command, typer.core.TyperCommand):
        yield " ".join(names), {option for parameter in command.params for option in parameter.opts}


def test_every_command_that_asks_a_service_can_be_led_to_one() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 30
    for name in ("serve", "migrate", "demo"):
        assert "--server" not in found.pop(name)
    for name, options in found.items():
        assert {"--server", "--api-key", "--data-dir"} <= options, name
    assert "--service-dir" in found["manyshot prepare-dataset"]


def test_a_list_is_every_page_as_a_table_or_as_json(server: Scripted) -> None:
    pages = [(200, {}, json.dumps({"data": [COLLECTION], "next": after}).encode()) for after in ("1", None)]
    server.answers = [*pages]
    table = vision("collections", "list", "--server", server.url, "--api-key", "vis_secret")
    assert table.exit_code == 0
    assert table.stdout.splitlines() == [
        "collection  encoder  labels",
        "mugs        lite     2",
        "mugs        lite     2",
    ]
    assert server.asked[-1] == ("/v1/collections?cursor=1", "Bearer vis_secret")
    server.answers = [*pages]
    document = vision("collections", "list", "--json", "--server", server.url)
    assert json.loads(document.stdout) == {"data": [COLLECTION, COLLECTION], "next": None}
    server.answers = [(200, {}, b'{"data": [], "next": null}')]
    empty = vision("collections", "list", "--server", server.url)
    assert (empty.stdout, empty.stderr) == ("", "There are no collections.\n")


def test_what_is_said_beside_a_table_is_not_said_beside_json(server: Scripted) -> None:
    page = {"data": [], "refused": [{"reason": "mine.yaml is empty"}]}
    server.answers = [(200, {}, json.dumps(page).encode())] * 2
    listed = vision("strategies", "list", "--server", server.url)
    assert listed.stderr.splitlines() == ["There are no strategies.", "Refused: mine.yaml is empty"]
    document = vision("strategies", "list", "--server", server.url, "--json")
    assert (json.loads(document.stdout), document.stderr) == (page, "")


def test_a_refusal_is_a_sentence_in_the_words_of_the_command_line(server: Scripted) -> None:
    server.answers = [(404, {}, b'{"detail": "There is no model \'cups\' (GET /v1/models)."}')]
    refused = vision("models", "show", "cups", "--server", server.url)
    assert refused.exit_code == 1
    assert refused.stderr == "vision: There is no model 'cups' (`vision models list`).\n"


def test_without_a_service_a_command_ends_with_3() -> None:
    ended = vision("models", "list", "--server", "127.0.0.1:1")
    assert ended.exit_code == 3
    assert ended.stderr.startswith("vision: no service answers at http://127.0.0.1:1")


def test_what_is_wrong_with_the_words_is_said_before_a_service_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that were started would leave its files in the data folder."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    monkeypatch.delenv("VISION_SERVER", raising=False)
    where = ["--data-dir", str(tmp_path / "data")]
    saved = vision("models", "download", "mugs", "--output-dir", str(tmp_path / "model"), *where)
    assert saved.exit_code == 2
    assert "--force" in saved.stderr
    detached = vision(
        "train", "--strategy", "lite_fewshot", "--detach", "--output-dir", str(tmp_path / "new"), *where
    )
    assert detached.exit_code == 2
    assert "--detach does not wait" in detached.stderr
    assert not (tmp_path / "data").exists()
