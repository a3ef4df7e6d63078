"""A bounded child gives its result, hands on its errors, and is ended by each of its limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.bounded import ChildLimits, process, run_bounded, run_bounded_async, runner
from app.errors import CheckLimitError, OverloadedError, VisionError, list_errors
from app.http.problems import name_error
from app.inference.errors import ModelUnavailableError
from app.storage.disk import want_of_room
from app.storage.errors import ArchiveError, InsufficientStorageError
from tests.integration.embedded.test_embedded import has_ended

MIB = 1 << 20
LIMITS = ChildLimits(
    memory_bytes=256 * MIB, cpu_seconds=60, wall_seconds=120, open_files=64, file_bytes=4 * MIB
)
HOGS = """
import os, signal, threading, time
from app.errors import VisionError
from app.inference.errors import ModelUnavailableError
from app.storage.errors import ArchiveError

def add(a, b):
    print("said on standard output")
    return {"sum": a + b, "secret": os.environ.get("VISION_SECRET")}

def threads():
    return os.environ["OMP_NUM_THREADS"]

def refuse():
    raise ArchiveError("It is no archive.", member="a")

def miss(detail):
    raise ModelUnavailableError(detail, retry_after_s=7)

class HomeMadeError(VisionError):
    status = 200

def invent():
    raise HomeMadeError("It is all right.")

def fail():
    raise KeyError("unforeseen")

def take_memory():
    return len(bytearray(os.urandom(1)) * (1 << 40))

def touch_memory():
    import mmap
    held = mmap.mmap(-1, 300 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return len(held)

def loop():
    while True:
        pass

def wait(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(3600)

def open_files():
    held = []
    while True:
        held.append(open(os.devnull))

def fill_disk(path):
    with open(path, "wb") as file:
        while True:
            file.write(bytes(1 << 20))

def fork():
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(3600)
    time.sleep(3600)

def die():
    os.kill(os.getpid(), signal.SIGSEGV)

def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)

def leave():
    os._exit(3)

def talk():
    return "x" * (8 << 20)
"""


@pytest.fixture(autouse=True)
def _hogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hogs.py").write_text(HOGS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("VISION_SECRET", "a secret of sixteen")


def run(name: str, limits: ChildLimits = LIMITS, **arguments: Any) -> Any:
    return run_bounded(f"hogs:{name}", arguments, limits, doing="Checking the thing")


def test_it_returns_what_the_function_returns_and_knows_no_secret() -> None:
    assert run("add", a=1, b=2) == {"sum": 3, "secret": None}


def test_it_uses_few_threads_however_many_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert run("threads") == "4"


def test_an_error_of_the_service_is_raised_again() -> None:
    with pytest.raises(ArchiveError, match=r"It is no archive\.") as raised:
        run("refuse")
    assert raised.value.context == {"member": "a"}


def test_an_error_of_any_room_keeps_its_words() -> None:
    with pytest.raises(ModelUnavailableError, match="It has no head") as raised:
        run("miss", detail="It has no head.")
    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("place", list_errors())
def test_every_error_of_the_service_comes_through(place: str) -> None:
    kind = list_errors()[place]
    reply = json.dumps({"error": process._describe(kind("It failed.", member="a"))}).encode()
    with pytest.raises(VisionError) as raised:
        runner._result(reply, 0, LIMITS, "Checking the thing")
    assert type(raised.value) is kind
    assert (raised.value.detail, raised.value.context) == ("It failed.", {"member": "a"})


@pytest.mark.parametrize(
    "place",
    ["hogs:HomeMadeError", "ArchiveError", "app.storage.errors:InvalidInputError", "os:error", "", None, 5],
)
def test_a_child_names_no_class_of_its_own(place: object) -> None:
    """It has read untrusted data: what it names is looked up among the service's failures, never imported."""
    error = {"class": place, "detail": "It is all right.", "retry_after_s": None, "context": {}}
    with pytest.raises(VisionError) as raised:
        runner._result(json.dumps({"error": error}).encode(), 0, LIMITS, "Checking the thing")
    assert type(raised.value) is VisionError


def test_an_error_that_is_none_of_the_service_is_unforeseen() -> None:
    with pytest.raises(VisionError) as raised:
        run("invent")
    assert (type(raised.value), raised.value.status) == (VisionError, 500)


def test_an_unforeseen_error_is_one_of_the_service() -> None:
    with pytest.raises(VisionError) as raised:
        run("fail")
    assert raised.value.status == 500
    assert "unforeseen" in raised.value.context["cause"]


def test_a_full_disk_of_the_child_is_named_as_one_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(100_000))
    with pytest.raises(OSError, match="No space left") as raised:
        run_bounded(
            "shutil:copyfile",
            {"src": str(tmp_path / "source"), "dst": "/dev/full"},
            LIMITS,
            doing="Copying the thing",
        )
    assert getattr(name_error(raised.value), "status", None) == 507
    waiting = want_of_room(raised.value, tmp_path, what="job files")  # which a job waits for
    assert isinstance(waiting, InsufficientStorageError)


@pytest.mark.parametrize(
    ("name", "words", "limits"),
    [
        ("take_memory", "memory", {}),
        ("touch_memory", "memory", {}),
        ("loop", "CPU time", {"cpu_seconds": 1}),
        ("loop", "more time", {"wall_seconds": 1.0}),
        ("open_files", "open files", {}),
        ("talk", "larger result", {"reply_bytes": MIB}),
        ("die", "SIGSEGV", {}),
        ("leave", "exit code 3", {}),
    ],
)
def test_what_goes_beyond_a_limit_is_ended(name: str, words: str, limits: dict[str, Any]) -> None:
    with pytest.raises(CheckLimitError, match=words) as raised:
        run(name, replace(LIMITS, **limits))
    assert raised.value.status == 422


def test_files_have_a_largest_size(tmp_path: Path) -> None:
    with pytest.raises(CheckLimitError, match="disk"):
        run("fill_disk", path=str(tmp_path / "large"))
    assert (tmp_path / "large").stat().st_size <= LIMITS.file_bytes


def test_a_fork_bomb_is_ended_whole(tmp_path: Path) -> None:
    with pytest.raises(CheckLimitError, match="processes"):
        run("fork")
    wait_for(lambda: not bounded_processes(tmp_path))


def bounded_processes(modules: Path) -> list[int]:
    """What runs as a bounded child that finds its modules there, or was forked by one, whoever is its parent by now."""
    found = []
    for any_one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_ours = any_one.environ().get("PYTHONPATH") == str(modules)
            if is_ours and "app.bounded.process" in any_one.cmdline():
                found.append(any_one.pid)
    return found


def test_one_that_the_system_kills_is_nobodys_fault() -> None:
    with pytest.raises(OverloadedError):
        run("be_killed")


def test_it_ends_when_nobody_waits_any_more(tmp_path: Path) -> None:
    gone = threading.Event()
    note = tmp_path / "pid"

    def leave() -> None:
        wait_for(lambda: note.exists() and note.read_text() != "")
        gone.set()

    leaving = threading.Thread(target=leave)
    leaving.start()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it raises, nobody hears it
        run_bounded("hogs:wait", {"path": str(note)}, LIMITS, doing="Waiting", gone=gone)
    leaving.join()
    wait_for(lambda: has_ended(int(note.read_text())))


async def test_a_cancelled_one_ends_and_frees_its_place(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    call = run_bounded_async("hogs:wait", {"path": str(note)}, LIMITS, most=1, doing="Waiting")
    task = asyncio.create_task(call)
    await asyncio.to_thread(wait_for, lambda: note.exists() and note.read_text() != "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended(int(note.read_text()))
    assert await run_bounded_async("hogs:add", {"a": 1, "b": 1}, LIMITS, most=1, doing="Adding")


async def test_too_many_at_once_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.bounded.runner._WAIT_SECONDS", 0.2)
    note = tmp_path / "pid"
    call = run_bounded_async("hogs:wait", {"path": str(note)}, LIMITS, most=1, doing="Waiting")
    task = asyncio.create_task(call)
    await asyncio.to_thread(wait_for, lambda: note.exists() and note.read_text() != "")
    with pytest.raises(OverloadedError) as raised:
        await run_bounded_async("hogs:add", {"a": 1, "b": 1}, LIMITS, most=1, doing="Adding")
    assert raised.value.retry_after_s
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "from app.bounded import ChildLimits, run_bounded\n"
        f"run_bounded('hogs:wait', {{'path': {str(note)!r}}}, {LIMITS!r}, doing='Waiting')"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: note.exists() and note.read_text() != "")
    parent.kill()
    parent.wait()
    wait_for(lambda: has_ended(int(note.read_text())))


def wait_for(is_so: Callable[[], bool], deadline_s: float = 60) -> None:
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
