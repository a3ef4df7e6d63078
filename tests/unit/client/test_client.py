"""What the client makes of a service's answers; the service is a real HTTP server that answers from a list."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import list_errors
from llamafarm_vision import (
    AsyncVision,
    BusyError,
    InvalidInputError,
    RefusedError,
    ServiceFailedError,
    StorageFullError,
    UnreachableError,
    Vision,
    VisionError,
)
from llamafarm_vision.packing import open_upload
from tests.scripted import Answer, Scripted, serving

server = pytest.fixture(serving)

BUSY: Answer = (503, {"Retry-After": "0"}, b'{"detail": "The service is busy: try again shortly."}')
EMPTY: Answer = (200, {}, b'{"data": [], "next": null}')
KEY = {"name": "n", "hint": "h", "workspace": "w", "scopes": [], "created_at": "2026-01-31T12:00:00Z"}


def page(*ids: str, next: str | None = None) -> Answer:
    rows = [{**KEY, "id": number, "expires_at": None} for number in ids]
    return 200, {}, json.dumps({"data": rows, "next": next}).encode()


def ask(url: str, call: Callable[[Any], Any], kind: str) -> Any:
    """The outcome of a call of the sync client, or of the async one; a list of what comes one after the other."""
    if kind == "sync":
        with Vision(url, "vis_secret") as vision:
            found = call(vision)
            return list(found) if hasattr(found, "__next__") else found

    async def run() -> Any:
        async with AsyncVision(url, "vis_secret") as client:
            found = call(client)
            return [item async for item in found] if hasattr(found, "__anext__") else await found

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
def test_pages_are_asked_for_one_after_the_other_with_the_key(server: Scripted, kind: str) -> None:
    server.answers = [page("1", "2", next="abc"), BUSY, page("3")]
    assert [key.id for key in ask(server.url, lambda vision: vision.keys.list(), kind)] == ["1", "2", "3"]
    assert server.asked == [
        ("/v1/keys", "Bearer vis_secret"),
        ("/v1/keys?cursor=abc", "Bearer vis_secret"),
        ("/v1/keys?cursor=abc", "Bearer vis_secret"),
    ]


@both
@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_stays_busy_is_given_up(server: Scripted, status: int, kind: str) -> None:
    server.answers = [(status, *BUSY[1:])] * 9
    with pytest.raises(BusyError, match="busy"):
        ask(server.url, lambda vision: vision.classify(b"image"), kind)
    assert len(server.asked) == 4


@both
def test_what_may_not_happen_twice_is_sent_once(server: Scripted, kind: str) -> None:
    server.answers = [BUSY, EMPTY]
    with pytest.raises(BusyError):
        ask(server.url, lambda vision: vision.keys.create("camera"), kind)
    assert len(server.asked) == 1


@both
def test_a_busy_service_that_does_not_say_when_to_come_back_is_not_asked_again(
    server: Scripted, kind: str
) -> None:
    server.answers = [(503, {}, b"{}"), EMPTY]
    with pytest.raises(BusyError):
        ask(server.url, lambda vision: vision.models.list(), kind)
    assert len(server.asked) == 1


@both
def test_no_service_is_told_from_one_that_refuses(server: Scripted, kind: str) -> None:
    with pytest.raises(UnreachableError, match="no service answers"):
        ask("http://127.0.0.1:1", lambda vision: vision.models.list(), kind)
    server.answers = [(200, {}, b"<html>"), (502, {}, b"<html>")]
    with pytest.raises(UnreachableError, match="no JSON"):
        ask(server.url, lambda vision: vision.models.get("lite"), kind)
    with pytest.raises(ServiceFailedError, match="502 Bad Gateway"):
        ask(server.url, lambda vision: vision.models.get("lite"), kind)


@both
def test_an_answer_that_breaks_off_is_no_answer(server: Scripted, kind: str) -> None:
    token = b'event: token\ndata: {"text": "re"}\n\n'
    failed = b'event: error\ndata: {"status": 507, "detail": "The disk is full.", "error": {"code": "x"}}\n\n'
    server.answers = [(200, {}, token), (200, {"Content-Length": "99"}, token), (200, {}, token + failed)]
    for error, sentence in (
        (RefusedError, "ended early"),
        (UnreachableError, "ended its answer early"),
        (StorageFullError, "disk is full"),
    ):
        with pytest.raises(error, match=sentence):
            ask(server.url, lambda vision: vision.ask_stream(b"image", "What?"), kind)


def test_every_code_of_the_service_has_a_class_of_its_status(server: Scripted) -> None:
    vision = Vision(server.url)
    for kind in list_errors().values():
        problem = {"status": kind.status, "detail": "No.", "error": {"code": kind.code}}
        server.answers = [(kind.status, {"X-Request-ID": "4f1c"}, json.dumps(problem).encode())]
        with pytest.raises(VisionError) as caught:
            vision.models.get("lite")
        error = caught.value
        assert isinstance(error, RefusedError)
        assert type(error) is not RefusedError
        assert (error.status, error.code, error.detail, error.request_id) == (
            kind.status,
            kind.code,
            "No.",
            "4f1c",
        )
        assert isinstance(error, InvalidInputError) == (kind.status in (400, 405, 408, 415, 422))
    vision.close()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,%%%", "no base64"),
        (7, "int is no image"),
        ("missing.jpg", "No such file"),
    ],
)
@both
def test_what_is_no_image_is_refused_before_anything_is_sent(
    server: Scripted, image: Any, sentence: str, kind: str
) -> None:
    with pytest.raises((OSError, TypeError, ValueError), match=sentence):
        ask(server.url, lambda vision: vision.classify(image), kind)
    assert server.asked == []


def test_names_are_one_segment_of_the_path(server: Scripted) -> None:
    server.answers = [(404, {}, b"{}")] * 3
    for name in ("a/b", "..", "ä?"):
        with pytest.raises(RefusedError):
            ask(server.url, lambda vision, name=name: vision.models.get(name), "sync")
    paths = [path for path, _ in server.asked]
    assert paths == ["/v1/models/a%2Fb", "/v1/models/%2E%2E", "/v1/models/%C3%A4%3F"]


def test_a_folder_is_packed_alike_each_time_it_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "mug").mkdir(parents=True)
    (folder / "mug" / f"{'long ' * 30}ü.txt").write_bytes(b"x" * 600_000)
    (folder / "empty.txt").touch()
    (folder / ".hidden").write_text("no")
    upload = open_upload(folder)
    seen: list[tuple[int, int | None]] = []
    packed = b"".join(upload.report(lambda sent, total: seen.append((sent, total)))())
    assert packed == b"".join(upload.read())
    assert len(packed) == upload.total == seen[-1][0]
    (tmp_path / "packed.tar").write_bytes(packed)
    with tarfile.open(tmp_path / "packed.tar") as archive:
        assert [(file.name, file.size) for file in archive] == [
            ("empty.txt", 0),
            (f"mug/{'long ' * 30}ü.txt", 600_000),
        ]
    with pytest.raises(ValueError, match="no archive"):
        open_upload(folder / "empty.txt")


def test_a_download_that_arrives_damaged_leaves_the_folder_as_it_was(
    server: Scripted, tmp_path: Path
) -> None:
    file = {"name": "model/vision.json", "size": 2, "sha256": "0" * 64, "url": "/file"}
    kept = tmp_path / "model"
    kept.mkdir()
    (kept / "mine.txt").write_text("kept")
    listed: Answer = (200, {}, json.dumps({"data": [file]}).encode())
    server.answers = [listed, listed, (200, {}, b"{}")]
    with pytest.raises(FileExistsError, match="overwrite"):
        ask(server.url, lambda vision: vision.models.download("m", kept), "sync")
    with pytest.raises(VisionError, match="damaged"):
        ask(server.url, lambda vision: vision.models.download("m", kept, overwrite=True), "sync")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (kept / "mine.txt").read_text() == "kept"
